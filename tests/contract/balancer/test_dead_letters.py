"""Dead letters over HTTP: every route, what it answers, and every refusal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest

from shared.task_state import TaskStatus
from tests.fakes.dead_letters import Grave, bury
from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.in_process_balancer import (
    AS_CLIENT,
    JsonObject,
    Reply,
    RunningBalancer,
    running_balancer,
)
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import PLAIN
from tests.fakes.waiting import wait_until

HOUR_S = 3600.0
FILTERS = "one of kind, function, group, code, since, before"


@pytest.fixture
async def hooks() -> AsyncGenerator[HookReceiver]:
    """Receive webhooks."""
    async with hook_receiver() as receiver:
        yield receiver


@pytest.fixture
async def balancer(
    tmp_path: Path, hooks: HookReceiver, request: pytest.FixtureRequest
) -> AsyncGenerator[RunningBalancer]:
    """Run a balancer over a store with letters of each kind, and a worker that would do better now.

    A parameter is its MAX_DURABLE.
    """
    most = cast("int", getattr(request, "param", 100))
    await bury(
        tmp_path / "tasks.db",
        Grave("old", function="echo", content=b'{"text":"x"}', age_s=2 * HOUR_S),
        Grave("failed", age_s=HOUR_S),
        Grave("set-aside", status=TaskStatus.QUARANTINED),
        Grave("untold", hook=hooks.url("/told")),
    )
    async with (
        running_worker(*PLAIN) as worker,
        running_balancer(
            tmp_path, worker.url, store_url=f"sqlite:///{tmp_path}/tasks.db", max_durable=most
        ) as running,
    ):
        yield running


async def listed(balancer: RunningBalancer, query: str = "") -> list[object]:
    """Return the ids of the letters of a page."""
    shown = (await balancer.ask("GET", f"/dead{query}")).json
    return [each["id"] for each in cast("list[JsonObject]", shown["dead"])]


async def replay_many(balancer: RunningBalancer, **members: object) -> Reply:
    """Order a replay."""
    return await balancer.ask("POST", "/dead/replay", data=json.dumps(members).encode())


async def test_letters_are_listed_newest_first_with_counts(balancer: RunningBalancer) -> None:
    """Why each died and whose it was; the whole task is shown alone."""
    shown = (await balancer.ask("GET", "/dead")).json
    assert shown["counts"] == {"task": 2, "webhook": 1, "quarantine": 1}
    assert shown["next"] is None
    page = cast("list[JsonObject]", shown["dead"])
    assert [each["id"] for each in page] == ["msg_untold", "set-aside", "failed", "old"]
    assert [each["kind"] for each in page] == ["webhook", "quarantine", "task", "task"]
    died_at = page[2].pop("died_at")
    assert page[2] == {
        "id": "failed", "kind": "task", "code": "function_error", "error": "broken",
        "task_id": "failed", "group": "default", "function": "hello", "contract": 1, "status": "failed",
    }  # fmt: skip
    assert str(died_at).endswith("Z")
    host = page[0]["webhook"]
    assert isinstance(host, dict)
    assert (host["attempts"], host["error"], host["outcome"]) == (4, "HTTP 500", "succeeded")


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("?kind=task", ["failed", "old"]),
        ("?function=echo", ["old"]),
        ("?group=nobody", []),
        ("?code=webhook_failed", ["msg_untold"]),
        ("?before=2000-01-01T00:00:00Z", []),
        ("?since=2000-01-01T00:00:00%2B01:00&kind=quarantine", ["set-aside"]),
    ],
)
async def test_each_filter_narrows_the_list(
    balancer: RunningBalancer, query: str, ids: list[str]
) -> None:
    """By kind, function, group, code and time."""
    assert await listed(balancer, query) == ids


async def test_pages_follow_each_other(balancer: RunningBalancer) -> None:
    """`next` leads through all letters, each once."""
    found: list[object] = []
    query = "?limit=3"
    while query:
        page = (await balancer.ask("GET", f"/dead{query}")).json
        found += [each["id"] for each in cast("list[JsonObject]", page["dead"])]
        query = f"?limit=3&cursor={page['next']}" if page["next"] else ""
    assert found == ["msg_untold", "set-aside", "failed", "old"]


async def test_a_letter_is_shown_with_the_whole_story_but_its_input(
    balancer: RunningBalancer,
) -> None:
    """Attempts, error and metadata of the task; neither the input nor a key."""
    reply = await balancer.ask("GET", "/dead/failed")
    task = reply.json["task"]
    assert isinstance(task, dict)
    assert (task["status"], task["error"], task["metadata"]) == ("failed", "broken", {"who": "me"})
    assert [each["code"] for each in cast("list[JsonObject]", task["attempts"])] == [
        "function_error"
    ]
    assert b"Ada" not in reply.body
    assert b"worker-secret" not in reply.body


async def test_a_replayed_task_runs_as_a_new_one(balancer: RunningBalancer) -> None:
    """202 with its place, the same request, and the letter is gone: a second replay finds none."""
    reply = await balancer.ask("POST", "/dead/failed/replay")
    assert reply.status == 202
    again = reply.json["task_id"]
    assert reply.json == {"success": True, "kind": "task", "task_id": again, "replay_of": "failed"}
    assert reply.headers["Location"] == f"/tasks/{again}"
    shown = await balancer.ended(again)
    assert (shown["status"], shown["result"], shown["replay_of"]) == (
        "succeeded", {"message": "Hello Ada!"}, "failed",
    )  # fmt: skip
    assert shown["metadata"] == {"who": "me"}
    second = await balancer.ask("POST", "/dead/failed/replay")
    assert (second.status, second.code) == (404, "dead_letter_not_found")
    assert "failed" not in await listed(balancer)
    assert (await balancer.shown("failed"))["status"] == "failed"


async def test_two_replays_at_one_time_run_it_once(balancer: RunningBalancer) -> None:
    """One of them is told that the letter is gone."""
    replies = await asyncio.gather(*(balancer.ask("POST", "/dead/old/replay") for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [202, 404, 404, 404]
    tasks = (await balancer.ask("GET", "/tasks?function=echo")).json["tasks"]
    assert len(cast("list[JsonObject]", tasks)) == 2


async def test_a_replayed_webhook_is_sent_under_its_old_id(
    balancer: RunningBalancer, hooks: HookReceiver
) -> None:
    """202 with the task's place; the receiver gets the same message."""
    reply = await balancer.ask("POST", "/dead/msg_untold/replay")
    assert (reply.status, reply.headers["Location"]) == (202, "/tasks/untold")
    assert reply.json == {
        "success": True, "kind": "webhook", "task_id": "untold", "webhook_id": "msg_untold",
    }  # fmt: skip
    await wait_until(lambda: hooks.received, "the webhook comes")
    assert [(each.path, each.headers["webhook-id"]) for each in hooks.received] == [
        ("/told", "msg_untold")
    ]
    assert (await balancer.ask("GET", "/dead/msg_untold")).status == 404


@pytest.mark.parametrize(
    ("path", "status"), [("/tasks/set-aside/release", 200), ("/dead/set-aside/replay", 202)]
)
async def test_a_quarantined_task_is_released(
    balancer: RunningBalancer, path: str, status: int
) -> None:
    """By either door, under its own id; a second time it is not quarantined any more."""
    page = (await balancer.ask("GET", "/tasks?status=quarantined")).json["tasks"]
    assert [each["task_id"] for each in cast("list[JsonObject]", page)] == ["set-aside"]
    reply = await balancer.ask("POST", path)
    assert (reply.status, reply.json["task_id"]) == (status, "set-aside")
    assert (await balancer.ended("set-aside"))["status"] == "succeeded"
    again = await balancer.ask("POST", "/tasks/set-aside/release")
    assert (again.status, again.code) == (409, "not_quarantined")
    assert again.json["error"] == "Task is not quarantined: succeeded"
    assert (await balancer.ask("POST", "/dead/set-aside/replay")).code == "dead_letter_not_found"


async def test_many_are_replayed_by_a_filter(balancer: RunningBalancer) -> None:
    """As many as the limit says, the newest first, and whether others match."""
    assert (await replay_many(balancer, kind="task", limit=1)).json == {
        "success": True, "replayed": 1, "more": True,
    }  # fmt: skip
    assert await listed(balancer, "?kind=task") == ["old"]
    assert (await balancer.ask("POST", "/dead/replay")).json == {
        "success": True, "replayed": 3, "more": False,
    }  # fmt: skip
    assert await listed(balancer) == []


@pytest.mark.parametrize("balancer", [2], indirect=True)
async def test_a_replay_of_many_that_is_stopped_says_how_far_it_came(
    balancer: RunningBalancer,
) -> None:
    """429 when MAX_DURABLE is reached: a quarantined task counts; the letters left stay."""
    balancer.list_workers()
    await wait_until(lambda: not balancer.balancer.fleet.workers(), "nobody runs anything")
    reply = await replay_many(balancer, kind="task")
    assert (reply.status, reply.code) == (429, "queue_full")
    assert reply.json["error"] == "1 letters were replayed, then: Queue is full"
    assert int(reply.headers["Retry-After"]) > 0
    assert len(await listed(balancer, "?kind=task")) == 1
    alone = await balancer.ask("POST", f"/dead/{(await listed(balancer, '?kind=task'))[0]}/replay")
    assert (alone.status, alone.code) == (429, "queue_full")


async def test_a_letter_is_purged(balancer: RunningBalancer) -> None:
    """It is gone, its task's record stays; a quarantined task has failed for good."""
    for letter in ("failed", "set-aside", "msg_untold"):
        reply = await balancer.ask("DELETE", f"/dead/{letter}")
        assert (reply.status, reply.json) == (200, {"success": True, "purged": 1})
        assert (await balancer.ask("DELETE", f"/dead/{letter}")).code == "dead_letter_not_found"
    assert await listed(balancer) == ["old"]
    shown = await balancer.shown("set-aside")
    assert (shown["status"], shown["code"]) == ("failed", "quarantined")
    assert (await balancer.ask("POST", "/tasks/set-aside/release")).code == "not_quarantined"


async def test_many_are_purged_by_a_filter(balancer: RunningBalancer) -> None:
    """And how many is told; all of them only when that is said."""
    assert (await balancer.ask("DELETE", "/dead?kind=task&function=echo")).json["purged"] == 1
    assert (await balancer.ask("DELETE", "/dead?before=2000-01-01T00:00:00Z")).json["purged"] == 0
    assert (await balancer.ask("DELETE", "/dead?all=true")).json == {"success": True, "purged": 3}
    assert await listed(balancer) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "text"),
    [
        ("GET", "/dead/nope", 404, "dead_letter_not_found", "Dead letter not found"),
        ("DELETE", "/dead/nope", 404, "dead_letter_not_found", "Dead letter not found"),
        ("POST", "/dead/nope/replay", 404, "dead_letter_not_found", "Dead letter not found"),
        ("POST", "/tasks/nope/release", 404, "task_not_found", "Task not found"),
        ("POST", "/tasks/failed/release", 409, "not_quarantined", "Task is not quarantined: failed"),
        ("GET", "/dead?limit=0", 400, "invalid_field", "Invalid limit: expected a whole number from 1 to 1000"),
        ("GET", "/dead?limit=x", 400, "invalid_field", "Invalid limit: expected a whole number from 1 to 1000"),
        ("GET", "/dead?kind=x", 400, "invalid_field", "Invalid kind: expected one of task, webhook, quarantine"),
        ("GET", "/dead?since=x", 400, "invalid_field", "Invalid since: expected an ISO 8601 date and time"),
        ("GET", "/dead?cursor=x", 400, "invalid_field", "Invalid cursor: send the `next` of the page before"),
        ("DELETE", "/dead", 400, "invalid_field", f"Invalid filter: expected {FILTERS}, or all=true"),
        ("DELETE", "/dead?all=false", 400, "invalid_field", f"Invalid filter: expected {FILTERS}, or all=true"),
        ("DELETE", "/dead?all=yes", 400, "invalid_field", "Invalid all: expected true or false"),
        ("DELETE", "/dead?all=true&fucntion=x", 400, "invalid_field", f"Invalid fucntion: expected {FILTERS}, all"),
        ("DELETE", "/dead?before=x", 400, "invalid_field", "Invalid before: expected an ISO 8601 date and time"),
        ("PUT", "/dead", 405, "method_not_allowed", "Method not allowed"),
        ("GET", "/dead/replay", 405, "method_not_allowed", "Method not allowed"),
        ("GET", "/dead/x/replay", 405, "method_not_allowed", "Method not allowed"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_and_nothing_changes(
    balancer: RunningBalancer, method: str, path: str, status: int, code: str, text: str
) -> None:
    """The contract's error body, in JSON and msgpack."""
    for form in ("application/json", "application/msgpack"):
        reply = await balancer.ask(method, path, headers={**AS_CLIENT, "Accept": form})
        told = {key: value for key, value in reply.content.items() if key != "task_id"}
        assert (reply.status, told) == (status, {"success": False, "error": text, "code": code})
    assert len(await listed(balancer)) == 4


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"nonsense", "invalid_json", "Invalid JSON body"),
        (b"[]", "invalid_field", "a JSON object"),
        (b'{"limit":0}', "invalid_field", "from 1 to 1000"),
        (b'{"limit":1001}', "invalid_field", "from 1 to 1000"),
        (b'{"limit":true}', "invalid_field", "from 1 to 1000"),
        (b'{"limit":"5"}', "invalid_field", "from 1 to 1000"),
        (b'{"function":7}', "invalid_field", "Invalid function: expected a text"),
        (b'{"kind":"tasks"}', "invalid_field", "Invalid kind"),
        (b'{"before":"soon"}', "invalid_field", "Invalid before"),
        (b'{"fucntion":"x"}', "invalid_field", "Invalid fucntion"),
    ],
)
async def test_a_filter_that_is_wrong_replays_nothing(
    balancer: RunningBalancer, body: bytes, code: str, said: str
) -> None:
    """Nothing is guessed: a name with a slip of the pen must not mean every letter."""
    reply = await balancer.ask("POST", "/dead/replay", data=body)
    assert (reply.status, reply.code) == (400, code)
    assert said in str(reply.json["error"])
    assert len(await listed(balancer)) == 4


async def test_a_filter_has_a_limit_of_size(balancer: RunningBalancer) -> None:
    """413, as for every body that is too large."""
    body = b'{"function":"' + b"x" * 70_000 + b'"}'
    reply = await balancer.ask("POST", "/dead/replay", data=body)
    assert (reply.status, reply.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/dead"), ("DELETE", "/dead"), ("GET", "/dead/x"), ("DELETE", "/dead/x"),
        ("POST", "/dead/x/replay"), ("POST", "/dead/replay"), ("POST", "/tasks/x/release"),
    ],
)  # fmt: skip
async def test_every_route_needs_the_key(balancer: RunningBalancer, method: str, path: str) -> None:
    """Without one it is 401, and nothing happens."""
    assert (await balancer.ask(method, path, headers={})).status == 401
    assert len(await listed(balancer)) == 4
