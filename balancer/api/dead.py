"""Dead letters over HTTP: list, inspect, replay, release, purge. No logic: the engine's `dead` does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from balancer.api.dead_query import MAX_BODY, read_page, read_purge, read_replay
from balancer.api.schemas import task_view, timestamp
from balancer.store.ports_dead import DeadFilter
from shared.dead_letter import DeadKind
from shared.edge.answers import render_failure, render_value
from shared.edge.http_shell import edge_headers, read_body, respond
from shared.errors import Failure, failure
from shared.ids import TaskId
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from balancer.api.views import TaskViews
    from balancer.delivery.dead_letters import DeadLetters, Replayed
    from balancer.store.ports_dead import DeadCounts, DeadLetter, DeadStore
    from shared.edge.answers import Answer
    from shared.edge.headers import EdgeHeaders

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LETTER = "/dead/{id:(?!replay$)[^/]+}"  # so that another method of /dead/replay is 405


class DeadApi:
    """Shows dead letters and takes orders about them.

    Args:
        dead: carries the orders out.
        store: has the letters.
        views: where tasks are seen.
    """

    def __init__(self, dead: DeadLetters, store: DeadStore, views: TaskViews) -> None:
        self._dead = dead
        self._store = store
        self._views = views

    def routes(self, closed: Callable[[Handler], Handler]) -> Sequence[web.RouteDef]:
        """Return the routes; `closed` guards each with the key."""
        return (
            web.post("/tasks/{id}/release", closed(self.release)),
            web.get("/dead", closed(self.list)),
            web.delete("/dead", closed(self.purge_many)),
            web.post("/dead/replay", closed(self.replay_many)),
            web.get(_LETTER, closed(self.get)),
            web.delete(_LETTER, closed(self.purge)),
            web.post("/dead/{id}/replay", closed(self.replay)),
        )

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Show letters, newest first, a page at a time, and how many there are of each kind."""
        asked = read_page(request.query)
        page, following = await self._store.list(
            asked.chosen, limit=asked.limit, cursor=asked.cursor
        )
        counts = await self._store.counts()
        shown = {
            "dead": [letter_view(letter) for letter in page],
            "next": following,
            "counts": counts._asdict(),
        }
        return respond(request, render_value(shown, edge_headers(request)))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show one letter with the whole story of its task."""
        headers = edge_headers(request)
        letter = await self._store.get(request.match_info["id"])
        if letter is None:
            return respond(request, render_failure(failure("dead_letter_not_found"), headers))
        shown = {**letter_view(letter), "task": task_view(letter.task)}
        return respond(request, render_value(shown, headers))

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """Replay one letter: 202, and where its task is."""
        headers = edge_headers(request)
        done = await self._dead.replay(request.match_info["id"])
        if isinstance(done, Failure):
            return respond(request, render_failure(done, headers))
        return respond(request, _replayed(done, headers))

    async def replay_many(self, request: web.Request) -> web.StreamResponse:
        """Replay the letters that a filter chooses, up to a limit, and say how many."""
        headers = edge_headers(request)
        body = await read_body(request, MAX_BODY)
        if isinstance(body, Failure):
            return respond(request, render_failure(body, headers))
        done = await self._dead.replay_many(*read_replay(body))
        if done.refused is not None:
            why = done.refused
            text = f"{done.count} letters were replayed, then: {why.message}"
            stopped = failure(why.code, text, retry_after_s=why.retry_after_s or 1)
            return respond(request, render_failure(stopped, headers))
        shown = {"success": True, "replayed": done.count, "more": done.more}
        return respond(request, render_value(shown, headers))

    async def purge(self, request: web.Request) -> web.StreamResponse:
        """Forget one letter."""
        headers = edge_headers(request)
        gone = await self._dead.purge(DeadFilter(letter_id=request.match_info["id"]))
        if not gone.total:
            return respond(request, render_failure(failure("dead_letter_not_found"), headers))
        return respond(request, _purged(gone, headers))

    async def purge_many(self, request: web.Request) -> web.StreamResponse:
        """Forget the letters that a filter chooses, and say how many."""
        gone = await self._dead.purge(read_purge(request.query))
        return respond(request, _purged(gone, edge_headers(request)))

    async def release(self, request: web.Request) -> web.StreamResponse:
        """Send a quarantined task back to its queue."""
        headers = edge_headers(request)
        task_id = TaskId(request.match_info["id"])
        if await self._dead.release(task_id):
            shown = {"success": True, "task_id": task_id, "status": TaskStatus.QUEUED.value}
            return respond(request, render_value(shown, headers))
        record = await self._views.find(task_id)
        if record is None:
            return respond(request, render_failure(failure("task_not_found"), headers))
        why = failure("not_quarantined", f"Task is not quarantined: {record.status.value}")
        return respond(request, render_failure(why, headers, task_id))


def letter_view(letter: DeadLetter) -> dict[str, object]:
    """Return a letter as lists show it."""
    task, webhook = letter.task, letter.webhook
    told = task.failure.message if task.failure is not None else None
    shown: dict[str, object] = {
        "id": letter.letter_id,
        "kind": letter.kind.value,
        "code": letter.code,
        "error": told if webhook is None else webhook.error,
        "died_at": timestamp(letter.died_at),
        "task_id": task.task_id,
        "group": task.group,
        "function": task.function,
        "contract": task.contract,
        "status": task.status.value,
    }
    if webhook is not None:
        shown["webhook"] = {
            "host": webhook.host,
            "attempts": webhook.attempts,
            "error": webhook.error,
            "outcome": webhook.outcome,
        }
    return shown


def _replayed(done: Replayed, headers: EdgeHeaders) -> Answer:
    shown: dict[str, object] = {
        "success": True,
        "kind": done.kind.value,
        "task_id": done.task_id,
    }
    if done.kind is DeadKind.TASK:
        shown["replay_of"] = done.letter_id
    elif done.kind is DeadKind.WEBHOOK:
        shown["webhook_id"] = done.letter_id
    answer = render_value(shown, headers, 202)
    answer.headers = (*answer.headers, ("Location", f"/tasks/{done.task_id}"))
    return answer


def _purged(gone: DeadCounts, headers: EdgeHeaders) -> Answer:
    return render_value({"success": True, "purged": gone.total}, headers)
