"""Contract §5: the balancer's other routes, the shapes they show, and the errors of every route."""

from __future__ import annotations

import asyncio
import re
from typing import cast

import msgspec
import pytest

from shared.task_state import TaskStatus
from tests.fakes.in_process_balancer import AS_CLIENT, JsonObject, RunningBalancer
from tests.fakes.waiting import wait_until
from worker.app import Worker

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DURABLE = {"Prefer": "respond-async"}

CLOSED = [
    ("POST", "/task"),
    ("GET", "/tasks"),
    ("GET", "/tasks/x"),
    ("GET", "/tasks/x/stream"),
    ("POST", "/tasks/x/cancel"),
    ("GET", "/workers"),
    ("GET", "/workers/x"),
    ("POST", "/workers/x/off"),
    ("POST", "/workers/x/on"),
    ("GET", "/logs"),
    ("GET", "/metrics"),
    ("GET", "/openapi"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_every_route_but_health_needs_the_key(
    balancer: RunningBalancer, method: str, path: str
) -> None:
    """Without a key, or with a wrong one, the answer is 401 and nothing else."""
    for headers in ({}, {"Authorization": "wrong"}):
        reply = await balancer.ask(method, path, headers=headers)
        assert reply.status == 401
        assert reply.json == {"success": False, "error": "Unauthorized", "code": "unauthorized"}
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert reply.headers["x-correlation-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "text"),
    [
        ("GET", "/nope", 404, "not_found", "Not found"),
        ("POST", "/on", 404, "not_found", "Not found"),
        ("GET", "/tasks/nope", 404, "task_not_found", "Task not found"),
        ("GET", "/tasks/nope/stream", 404, "task_not_found", "Task not found"),
        ("POST", "/tasks/nope/cancel", 404, "task_not_found", "Task not found"),
        ("GET", "/workers/nope:1", 404, "worker_not_found", "Worker 'nope:1' is not listed"),
        ("POST", "/workers/nope:1/off", 404, "worker_not_found", "Worker 'nope:1' is not listed"),
        ("GET", "/tasks?limit=0", 400, "invalid_field", "Invalid limit: expected a whole number from 1 to 1000"),
        ("GET", "/tasks?limit=1001", 400, "invalid_field", "Invalid limit: expected a whole number from 1 to 1000"),
        ("GET", "/tasks?limit=x", 400, "invalid_field", "Invalid limit: expected a whole number from 1 to 1000"),
        ("GET", "/tasks?cursor=x", 400, "invalid_field", "Invalid cursor: expected the `next` of the page before"),
        ("GET", "/tasks?cursor=W10", 400, "invalid_field", "Invalid cursor: expected the `next` of the page before"),
        ("GET", "/tasks?status=nope", 400, "invalid_field",
         "Invalid status: expected one of " + ", ".join(TaskStatus)),
    ],
)  # fmt: skip
async def test_what_is_not_there_says_so(
    balancer: RunningBalancer, method: str, path: str, status: int, code: str, text: str
) -> None:
    """Each answer carries the contract's error body, in JSON and msgpack."""
    for form in ("application/json", "application/msgpack"):
        reply = await balancer.ask(method, path, headers={**AS_CLIENT, "Accept": form})
        assert (reply.status, reply.content) == (
            status,
            {"success": False, "error": text, "code": code},
        )
        assert reply.headers["x-correlation-id"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/task", "POST"),
        ("DELETE", "/tasks", "GET, HEAD"),
        ("GET", "/tasks/x/cancel", "POST"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_with_allow(
    balancer: RunningBalancer, method: str, path: str, allow: str
) -> None:
    """405 names the methods that the path takes."""
    reply = await balancer.ask(method, path)
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.headers["Allow"] == allow


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /task HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
    ],
    ids=["no HTTP", "bad length", "a line too long"],
)
async def test_malformed_http_is_answered_in_the_contract_s_body(
    balancer: RunningBalancer, sent: bytes, status: bytes
) -> None:
    """What cannot be read gets 400 (or 431), as JSON, and the connection is closed."""
    address = balancer.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(address[0], int(address[1]))
    try:
        writer.write(sent)
        raw = await reader.read()
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert b"application/json" in head
    told = cast("JsonObject", msgspec.json.decode(body))
    assert told["success"] is False
    assert told["code"] in ("bad_request", "headers_too_large")


async def test_the_public_health_is_a_single_word(balancer: RunningBalancer) -> None:
    """Without a key `/health` is exactly the status, whatever header is wrong; never 401."""
    for headers in ({}, {"Authorization": "wrong"}):
        reply = await balancer.ask("GET", "/health", headers=headers)
        assert (reply.status, reply.json) == (200, {"status": "ready"})
    balancer.list_workers()
    fleet = balancer.balancer.fleet
    await wait_until(lambda: not fleet.workers(), "the worker is forgotten")
    reply = await balancer.ask("GET", "/health", headers={})
    assert (reply.status, reply.json) == (200, {"status": "unreachable"})


async def test_health_with_a_key_shows_the_fleet(balancer: RunningBalancer, worker: Worker) -> None:
    """With the key: Andera's members `workers`, `invalidWorkers` and `services`, and ours beside."""
    shown = (await balancer.ask("GET", "/health")).json
    assert shown["status"] == "ready"
    assert shown["invalidWorkers"] == []
    assert shown["services"] == {"store": "ready", "roster": "ready"}
    (one,) = cast("list[JsonObject]", shown["workers"])
    assert (one["url"], one["contractValid"]) == (worker.url, True)


async def test_a_worker_is_shown_with_the_contract_s_members(
    balancer: RunningBalancer, worker: Worker
) -> None:
    """`GET /workers` shows id, url, status, the eight members once known, weight and link."""
    (shown,) = await balancer.workers()
    host = worker.url.removeprefix("http://")
    port = int(host.rpartition(":")[2])
    assert {
        "id": host, "url": worker.url, "status": "ready", "group": "default", "contract": 1,
        "weight": 1.0, "link": "cabrank", "websocketPort": port, "tags": {}, "services": [],
        "slots": {"used": 0, "available": 2, "limit": 2, "queue": 0},
    }.items() <= shown.items()  # fmt: skip
    names = [str(each["name"]) for each in cast("list[JsonObject]", shown["functions"])]
    assert names == sorted(names)
    assert "hello" in names
    assert {"uptime", "usedMemoryPercent", "cpuLoad"} <= cast("JsonObject", shown["system"]).keys()
    alone = await balancer.ask("GET", f"/workers/{host}")
    assert alone.json["id"] == host


async def test_a_worker_never_reached_shows_only_what_is_known(balancer: RunningBalancer) -> None:
    """The eight members of an unknown worker are absent, and the problem is named."""
    balancer.list_workers("http://127.0.0.1:9")
    fleet = balancer.balancer.fleet
    await wait_until(
        lambda: (
            [(worker.id, worker.problem is None) for worker in fleet.workers()]
            == [("127.0.0.1:9", False)]
        ),
        "only the new entry is left, and was tried",
    )
    (shown,) = await balancer.workers()
    problem = shown.pop("problem")
    assert "127.0.0.1:9" in str(problem)
    assert shown == {
        "id": "127.0.0.1:9",
        "url": "http://127.0.0.1:9",
        "status": "unreachable",
        "weight": 1.0,
        "link": "none",
    }


async def test_orders_to_a_worker_answer_in_andera_s_words(
    balancer: RunningBalancer, worker: Worker
) -> None:
    """off and on through the balancer; the worker obeys, and calls wait meanwhile."""
    host = worker.url.removeprefix("http://")
    off = await balancer.ask("POST", f"/workers/{host}/off")
    assert (off.status, off.json) == (
        200,
        {"status": "maintenance", "message": "Maintenance mode enabled"},
    )
    fleet = balancer.balancer.fleet
    await wait_until(lambda: fleet.workers()[0].status == "maintenance", "the order is obeyed")
    call = asyncio.create_task(balancer.task("hello"))
    on = await balancer.ask("POST", f"/workers/{host}/on")
    assert (on.status, on.json) == (
        200,
        {"status": "ready", "message": "Maintenance mode disabled"},
    )
    assert (await call).status == 200


async def test_a_task_is_shown_with_the_contract_s_members(
    balancer: RunningBalancer, worker: Worker
) -> None:
    """A finished durable task: every member of the contract, times in ISO 8601 UTC."""
    host = worker.url.removeprefix("http://")
    kept = await balancer.task("hello", headers=DURABLE, priority=7, metadata={"who": "me"})
    shown = await balancer.ended(kept.json["task_id"])
    assert {
        "task_id": kept.json["task_id"], "group": "default", "function": "hello", "contract": 1,
        "mode": "sync", "priority": 7, "status": "succeeded", "worker": host,
        "result": {"message": "Hello World!"}, "metadata": {"who": "me"},
    }.items() <= shown.items()  # fmt: skip
    for member in ("created_at", "started_at", "finished_at"):
        assert ISO.fullmatch(str(shown[member])), member
    (attempt,) = cast("list[JsonObject]", shown["attempts"])
    assert (attempt["n"], attempt["worker"], attempt["outcome"]) == (1, host, "succeeded")
    assert "error" not in shown


async def test_a_failed_task_shows_why(balancer: RunningBalancer) -> None:
    """`error` and `code` stand in for the result, in the task and in its attempt."""
    failed = await balancer.task("fail", {"text": "broken"})
    shown = await balancer.shown(failed.json["task_id"])
    assert (shown["status"], shown["error"], shown["code"]) == (
        "failed",
        "broken",
        "function_error",
    )
    assert "result" not in shown
    (attempt,) = cast("list[JsonObject]", shown["attempts"])
    assert (attempt["outcome"], attempt["code"]) == ("failed", "function_error")


async def test_tasks_are_listed_newest_first_and_filtered(balancer: RunningBalancer) -> None:
    """Calls from memory and durable tasks from the store, merged; each filter narrows the list."""
    ids: list[object] = []
    for function, headers in (
        ("hello", {}),
        ("fail", {}),
        ("nothing", DURABLE),
        ("hello", DURABLE),
    ):
        ids.append((await balancer.task(function, headers=headers)).json["task_id"])
    for task_id in ids[2:]:
        await balancer.ended(task_id)

    async def listed(query: str = "") -> list[object]:
        shown = (await balancer.ask("GET", f"/tasks{query}")).json
        assert shown["next"] is None
        return [each["task_id"] for each in cast("list[JsonObject]", shown["tasks"])]

    assert await listed() == ids[::-1]
    assert await listed("?function=hello") == [ids[3], ids[0]]
    assert await listed("?status=failed") == [ids[1]]
    assert await listed("?group=default&status=succeeded&function=nothing") == [ids[2]]
    assert await listed("?group=other") == []


async def test_pages_of_tasks_follow_each_other(balancer: RunningBalancer) -> None:
    """`next` leads through memory and store, each task once, to null."""
    ids = [
        (await balancer.task("hello", headers=DURABLE if n % 3 else {})).json["task_id"]
        for n in range(7)
    ]
    found: list[object] = []
    query = "?limit=2"
    while query:
        page = (await balancer.ask("GET", f"/tasks{query}")).json
        found += [each["task_id"] for each in cast("list[JsonObject]", page["tasks"])]
        query = f"?limit=2&cursor={page['next']}" if page["next"] else ""
    assert found == ids[::-1]


async def test_logs_and_metrics_are_served(balancer: RunningBalancer) -> None:
    """`/logs` shows the lines of tasks with their ids, `/metrics` counts them for Prometheus."""
    reply = await balancer.task("hello", headers={"x-correlation-id": "trace-me"})
    lines = cast("list[str]", (await balancer.ask("GET", "/logs")).json["logs"])
    assert any(str(reply.json["task_id"]) in line for line in lines)
    metrics = await balancer.ask("GET", "/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert (
        b'cabrank_tasks_ended_total{code="ok",contract="1",function="hello",group="default"} 1.0'
        in metrics.body
    )
