"""`POST /task`: read, check, run in the mode that is asked for (contract §2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.codec import WorkerRules, authorize_worker, parse_task
from shared.edge.http_shell import edge_headers, read_body, refuse, respond
from shared.errors import Failure
from shared.ids import TaskId
from shared.task import Mode
from worker.modes import stream, sync

if TYPE_CHECKING:
    from aiohttp import web

    from shared.edge.codec import Keys
    from shared.ids import IdSource
    from shared.log import TaskLog
    from worker.engine import WorkerEngine
    from worker.modes.webhook import WebhookMode


class TaskRoute:
    """Runs the tasks of callers that come without a balancer, and of legacy balancers.

    Args:
        engine: runs them.
        webhooks: runs those of mode webhook.
        keys: of the worker.
        ids: makes their ids.
        log: notes the ones that are refused.
        contract: the only contract that is served.
        body_limit: REQUEST_BODY_LIMIT.
    """

    def __init__(
        self,
        engine: WorkerEngine,
        webhooks: WebhookMode,
        keys: Keys,
        ids: IdSource,
        log: TaskLog,
        *,
        contract: int,
        body_limit: int,
    ) -> None:
        self._engine = engine
        self._webhooks = webhooks
        self._keys = keys
        self._ids = ids
        self._log = log
        self._rules = WorkerRules(contract, engine)
        self._body_limit = body_limit

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        headers = edge_headers(request)
        refused = authorize_worker(headers, *self._keys)
        if refused is not None:
            return self._refuse(request, refused)
        body = await read_body(request, self._body_limit)
        if isinstance(body, Failure):
            return self._refuse(request, body)
        task = parse_task(body, headers, self._rules)
        if isinstance(task, Failure):
            return self._refuse(request, task)
        task_id = TaskId(self._ids.next_id())
        if task.mode is Mode.STREAM:
            return await stream.answer(self._engine, task, task_id, request)
        if task.mode is Mode.WEBHOOK:
            return respond(request, await self._webhooks.answer(task, task_id, headers))
        return respond(request, await sync.answer(self._engine, task, task_id, headers))

    def _refuse(self, request: web.Request, reason: Failure) -> web.Response:
        self._log.rejected(reason.code, edge_headers(request).correlation_id or "")
        return refuse(request, reason)
