"""Interop by wire: our balancer dials a worker that answers with the bytes of Andera's, as captured.

What the balancer shows of it, what it sends to it, and what it makes of maintenance, heartbeats and
bad keys. The worker of tests/fakes/andera_worker.py behaves like Andera's; this one is its bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.contract.worker.observed import exchanges
from tests.fakes.hook_receiver import hook_receiver
from tests.fakes.in_process_balancer import Reply, RunningBalancer, running_balancer
from tests.fakes.waiting import wait_until
from tests.interop.capture import (
    AUTH_KEY,
    LB_KEY,
    TEXT,
    Http,
    JsonObject,
    Message,
    parsed_http,
    socket_frames,
)
from tests.interop.scripted_worker import (
    BUSY,
    DRAINING,
    READY,
    ScriptedWorker,
    captured_task,
    scripted_worker,
)

AS_CLIENT = {"Authorization": LB_KEY}
PING = Message(TEXT, b"ping")


@pytest.fixture
async def worker() -> AsyncGenerator[ScriptedWorker]:
    """Run the captured worker."""
    async with scripted_worker() as running:
        yield running


@asynccontextmanager
async def dialled(
    worker: ScriptedWorker,
    folder: Path,
    *,
    ready: bool = True,
    auth_key: str = AUTH_KEY,
    look_ms: int = 50,
    silence_ms: int = 3000,
) -> AsyncGenerator[RunningBalancer]:
    """Run our balancer over it, with the captured keys."""
    async with running_balancer(
        folder, worker.url, linked=int(ready), lb_auth_key=LB_KEY, auth_key=auth_key,
        worker_discovery_interval=look_ms, ws_heartbeat_interval=50, ws_heartbeat_timeout=silence_ms,
    ) as balancer:  # fmt: skip
        yield balancer


@pytest.fixture
async def balancer(worker: ScriptedWorker, tmp_path: Path) -> AsyncGenerator[RunningBalancer]:
    """Run our balancer over it."""
    async with dialled(worker, tmp_path) as running:
        await wait_until(lambda: worker.messages, "the slot socket is in use")
        yield running


async def shown(balancer: RunningBalancer) -> JsonObject:
    """Return what the balancer shows of the worker."""
    told = (await balancer.ask("GET", "/workers", headers=AS_CLIENT)).json
    (only,) = cast("list[JsonObject]", told["workers"])
    return only


async def shows(balancer: RunningBalancer, status: str, used: int) -> JsonObject:
    """Wait until the balancer shows a status and the slots in use."""

    async def seen() -> JsonObject | None:
        worker = await shown(balancer)
        slots = cast("JsonObject", worker.get("slots", {}))
        return worker if (worker["status"], slots.get("used")) == (status, used) else None

    return cast("JsonObject", await wait_until(seen, f"{status} with {used} used slots is shown"))


async def heartbeats(worker: ScriptedWorker, count: int) -> None:
    """Wait until so many more pings have been answered."""
    enough = len(worker.messages) + count
    await wait_until(lambda: len(worker.messages) >= enough, f"{count} heartbeats")


async def submit(balancer: RunningBalancer, mark: bytes, **changes: object) -> Reply:
    """Submit the task that a captured request asks for."""
    body = json.dumps({**captured_task(mark), **changes}).encode()
    return await balancer.ask("POST", "/task", headers=AS_CLIENT, data=body)


def _captured(mark: bytes) -> bytes:
    return next(request for request, _ in exchanges() if mark in request)


async def test_its_health_is_shown_field_by_field(
    balancer: RunningBalancer, worker: ScriptedWorker
) -> None:
    """What the captured worker tells is what `/workers` says of it."""
    theirs = (await parsed_http(next(a for r, a in exchanges() if b"GET /health" in r))).json
    ours = await shows(balancer, "ready", 0)
    assert ours["link"] == "legacy"
    for name in ("status", "group", "contract", "functions", "services", "tags", "slots"):
        assert ours[name] == theirs[name], name
    assert cast("JsonObject", ours["system"]).keys() == cast("JsonObject", theirs["system"]).keys()
    looks = [each for each in worker.requests if each.first.startswith("GET /health ")]
    assert {each.headers["x-lb-auth"] for each in looks} == {LB_KEY}


async def test_the_whole_capture_is_understood(
    balancer: RunningBalancer, worker: ScriptedWorker
) -> None:
    """Everything that the captured worker said is said again, through its states in their order."""
    await submit(balancer, b'"Ada"')
    await submit(balancer, b'"Bo"')
    failed = await submit(balancer, b'"Cy"', webhook={}, mode="sync")
    assert (failed.status, failed.code) == (500, "function_error")
    for state in (READY, DRAINING, BUSY, READY):
        worker.push(state)
        await shows(balancer, state.status, state.used)
        await heartbeats(worker, 3)
    assert worker.unplayed == set()
    assert worker.sockets == 1
    assert (await shown(balancer))["status"] == "ready"


async def test_its_slot_socket_is_opened_as_andera_opens_it(
    balancer: RunningBalancer, worker: ScriptedWorker
) -> None:
    """The captured handshake's headers but for the random key, then a masked `ping` at each heartbeat."""
    upgrade, _, frames = socket_frames()
    theirs = await parsed_http(upgrade.data)
    (ours,) = [each for each in worker.requests if "upgrade" in each.headers]
    assert ours.first == theirs.first
    for name in ("connection", "upgrade", "sec-websocket-version", "sec-websocket-protocol"):
        assert ours.headers[name].lower() == theirs.headers[name].lower()
    assert "sec-websocket-extensions" not in ours.headers  # nothing here is worth compressing
    await heartbeats(worker, 2)
    assert set(worker.messages) == {PING}
    assert next(frames).to_worker
    assert worker.sockets == 1
    assert (await shown(balancer))["status"] == "ready"


def _check_sent(ours: Http, theirs: bytes, mark: bytes) -> None:
    """Fail unless a task was sent in a form that Andera's worker understands."""
    head = theirs.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
    assert ours.first.lower() == head.partition("\r\n")[0]
    assert (ours.headers["authorization"], ours.headers["x-lb-auth"]) == (AUTH_KEY, LB_KEY)
    assert ours.headers["content-type"] == "application/json"
    wanted = captured_task(mark)
    if (
        wanted.get("mode") == "webhook"
    ):  # our outbox delivers, so the worker only runs it (contract §7)
        del wanted["webhook"]
        wanted["mode"] = "sync"
    assert wanted.items() <= ours.json.items()


async def test_a_captured_call_gets_the_captured_result(
    balancer: RunningBalancer, worker: ScriptedWorker
) -> None:
    """The task as it was captured, to our balancer: Andera's worker gets it as from Andera's."""
    reply = await submit(balancer, b'"Ada"')
    (sent,) = worker.tasks
    _check_sent(sent, _captured(b'"Ada"'), b'"Ada"')
    assert (reply.status, reply.json["result"]) == (200, {"message": "Hello Ada!"})


async def test_a_captured_stream_comes_through(
    balancer: RunningBalancer, worker: ScriptedWorker
) -> None:
    """Its chunked text/plain answer is the caller's."""
    reply = await submit(balancer, b'"Bo"')
    assert (reply.status, reply.body) == (200, b"Hello Bo!")
    (sent,) = worker.tasks
    _check_sent(sent, _captured(b'"Bo"'), b'"Bo"')
    assert sent.headers["accept-encoding"] == "identity"


async def test_a_captured_failure_is_the_outcome_of_a_webhook_task(
    balancer: RunningBalancer, worker: ScriptedWorker
) -> None:
    """Its 500 with an error ends the task at once; the hook is told, and told that it is no result."""
    async with hook_receiver() as receiver:
        hook = {"url": receiver.url()}
        reply = await submit(balancer, b'"Cy"', webhook=hook, max_attempts=1)
        assert reply.status == 202
        await wait_until(lambda: receiver.received, "the hook is told")
        told = receiver.received[0]
    _check_sent(worker.tasks[0], _captured(b'"Cy"'), b'"Cy"')
    assert told.headers["x-cabrank-outcome"] == "failed"
    assert b"connect ECONNREFUSED 127.0.0.1:9" in told.body
    assert len(worker.tasks) == 1


async def test_maintenance_is_followed_from_the_captured_pushes(
    worker: ScriptedWorker, tmp_path: Path
) -> None:
    """On and off as captured, several messages in one segment; a task waits until the end of it."""
    # Looks are rare here, so that only the socket can have told.
    async with dialled(worker, tmp_path, look_ms=60_000) as balancer:
        await wait_until(lambda: worker.messages, "the slot socket is in use")
        worker.push(DRAINING)
        drained = await shows(balancer, "maintenance", 1)
        assert drained["slots"] == {"used": 1, "available": 0, "limit": 2, "queue": 0}
        waiting = asyncio.create_task(submit(balancer, b'"Ada"'))
        scheduler = balancer.balancer.engine.scheduler
        await wait_until(lambda: scheduler.counts().waiting == 1, "it waits")
        assert worker.tasks == []
        worker.push(BUSY)
        assert (await waiting).status == 200
        busy = await shows(balancer, "ready", 1)
        assert cast("JsonObject", busy["slots"])["available"] == 1
        worker.push(READY)
        await shows(balancer, "ready", 0)


async def test_maintenance_is_followed_by_looking_when_the_socket_is_mute(
    worker: ScriptedWorker, tmp_path: Path
) -> None:
    """A socket on which nothing comes any more is opened again; the captured /health does meanwhile."""
    async with dialled(worker, tmp_path, silence_ms=50) as balancer:
        await wait_until(lambda: worker.messages, "the slot socket is in use")
        worker.mute = True
        worker.state = DRAINING
        await shows(balancer, "maintenance", 1)
        worker.state = READY
        await shows(balancer, "ready", 0)
        await wait_until(lambda: worker.sockets > 1, "the socket is opened again")
        assert (await submit(balancer, b'"Ada"')).status == 200


# Bad keys


async def test_a_socket_that_closes_with_4001_keeps_no_task_away(
    worker: ScriptedWorker, tmp_path: Path
) -> None:
    """The slot socket does not take the key, /health does: the worker is used, by looking at it."""
    worker.socket_key = "other"
    async with dialled(worker, tmp_path) as balancer:
        await wait_until(lambda: worker.sockets > 1, "it is tried again")
        assert worker.messages == []
        assert (await submit(balancer, b'"Ada"')).status == 200
        worker.state = DRAINING
        await shows(balancer, "maintenance", 1)


async def test_a_worker_that_does_not_take_our_key_is_not_used(
    worker: ScriptedWorker, tmp_path: Path
) -> None:
    """It shows its public view only: unreachable, and the reason is said; with the right key it is used."""
    worker.lb_key = "other"
    async with dialled(worker, tmp_path, ready=False) as balancer:
        await wait_until(lambda: balancer.balancer.fleet.round_ended, "it was looked at")
        told = await shown(balancer)
        assert told["status"] == "unreachable"
        assert "LB_AUTH_KEY" in str(told["problem"])
        assert worker.sockets == 0
        worker.lb_key = LB_KEY
        await shows(balancer, "ready", 0)


async def test_a_worker_that_does_not_take_its_own_key_fails_the_task(
    worker: ScriptedWorker, tmp_path: Path
) -> None:
    """Its 401 is not the caller's: 502, with the worker's word."""
    async with dialled(worker, tmp_path, auth_key="other") as balancer:
        reply = await submit(balancer, b'"Ada"')
    assert (reply.status, reply.code) == (502, "worker_unreachable")
    assert "Unauthorized" in str(reply.json["error"])
