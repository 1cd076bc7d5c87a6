"""`Prefer: respond-async, wait=N` and `GET /tasks/{id}?wait=N`: waiting that ends when the task does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from balancer.delivery.waiters import Waiters
from tests.fakes.in_process_balancer import Reply, RunningBalancer, running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import PLAIN, HeldWork
from tests.fakes.waiting import wait_until

SHELLS = pytest.mark.parametrize("chunked", [False, True], ids=["lane", "aiohttp"])


@pytest.fixture
def work() -> HeldWork:
    """Functions that wait until a test lets them go."""
    return HeldWork()


@pytest.fixture
async def balancer(tmp_path: Path, work: HeldWork) -> AsyncGenerator[RunningBalancer]:
    """Run a balancer on SQLite over one worker."""
    store = f"sqlite:///{tmp_path}/tasks.db"
    async with (
        running_worker(*PLAIN, *work.functions()) as worker,
        running_balancer(tmp_path, worker.url, store_url=store) as running,
    ):
        yield running


def _prefer(text: str) -> dict[str, str]:
    return {"Prefer": text}


async def _somebody_waits(balancer: RunningBalancer, count: int = 1) -> None:
    await wait_until(lambda: len(balancer.balancer.engine.waiters) == count, f"{count} wait")


@SHELLS
async def test_respond_async_alone_is_202_at_once(
    balancer: RunningBalancer, work: HeldWork, chunked: bool
) -> None:
    """With its place, and with what was applied."""
    reply = await balancer.task(
        "hold", {"label": "a"}, headers=_prefer("respond-async"), chunked=chunked
    )
    assert reply.status == 202
    assert reply.headers["Location"] == f"/tasks/{reply.json['task_id']}"
    assert reply.headers["Preference-Applied"] == "respond-async"
    work.let_go()
    assert (await balancer.ended(reply.json["task_id"]))["status"] == "succeeded"


@SHELLS
async def test_what_ends_in_time_is_answered_as_a_call(
    balancer: RunningBalancer, chunked: bool
) -> None:
    """Status, body and code are those of a sync call."""
    headers = _prefer("respond-async, wait=30")
    reply = await balancer.task("hello", headers=headers, chunked=chunked)
    assert reply.status == 200
    assert reply.body == b'{"success":true,"result":{"message":"Hello World!"},"task_id":"%s"}' % (
        str(reply.json["task_id"]).encode()
    )
    assert (await balancer.shown(reply.json["task_id"]))["status"] == "succeeded"
    failed = await balancer.task("fail", headers=headers, chunked=chunked)
    assert (failed.status, failed.code) == (500, "function_error")


@SHELLS
async def test_what_takes_longer_is_202_when_the_wait_is_over(
    balancer: RunningBalancer, work: HeldWork, chunked: bool
) -> None:
    """The task goes on."""
    reply = await balancer.task(
        "hold", {"label": "a"}, headers=_prefer("respond-async, wait=1"), chunked=chunked
    )
    assert reply.status == 202
    assert reply.headers["Location"] == f"/tasks/{reply.json['task_id']}"
    assert reply.headers["Preference-Applied"] == "respond-async, wait=1"
    work.let_go()
    assert (await balancer.ended(reply.json["task_id"]))["status"] == "succeeded"


@SHELLS
async def test_who_leaves_while_it_waits_cancels_nothing(
    balancer: RunningBalancer, work: HeldWork, chunked: bool
) -> None:
    """A durable task does not depend on its caller, and nothing is left of it."""
    asking = asyncio.create_task(
        balancer.task("hold", {"label": "a"}, headers=_prefer("respond-async, wait=60"), chunked=chunked)
    )  # fmt: skip
    await wait_until(lambda: work.running, "it runs")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await _somebody_waits(balancer, 0)
    assert balancer.balancer.engine.waiters.by_task == {}
    assert work.cancelled == []


@pytest.mark.parametrize("wait", ["30", "0.5", "60", "60.0"])
async def test_a_long_poll_ends_with_the_task(
    balancer: RunningBalancer, work: HeldWork, wait: str
) -> None:
    """Of a durable task, with its result."""
    reply = await balancer.task("hold", {"label": "a"}, headers=_prefer("respond-async"))
    path = f"/tasks/{reply.json['task_id']}"
    polling = asyncio.create_task(balancer.ask("GET", f"{path}?wait={wait}"))
    await _somebody_waits(balancer)
    work.let_go()
    shown = (await polling).json
    assert (shown["status"], shown["result"]) == ("succeeded", "a")
    again = await balancer.ask("GET", f"{path}?wait=60")
    assert again.json == shown


@pytest.mark.parametrize("function", ["hold", "hold_stream"])
async def test_a_long_poll_waits_for_calls_and_streams_too(
    balancer: RunningBalancer, work: HeldWork, function: str
) -> None:
    """They are in memory only."""
    mode = "sync" if function == "hold" else "stream"
    calling = asyncio.create_task(balancer.task(function, {"label": "a"}, mode=mode))
    await wait_until(lambda: work.running, "it runs")
    (task,) = balancer.balancer.engine.scheduler.tasks()
    polling = asyncio.create_task(balancer.ask("GET", f"/tasks/{task.id}?wait=30"))
    await _somebody_waits(balancer)
    work.let_go()
    assert (await polling).json["status"] == "succeeded"
    assert (await calling).status == 200


async def test_a_long_poll_shows_what_has_not_ended_when_its_time_is_over(
    balancer: RunningBalancer, work: HeldWork
) -> None:
    """As a plain look does."""
    reply = await balancer.task("hold", {"label": "a"}, headers=_prefer("respond-async"))
    shown = await balancer.ask("GET", f"/tasks/{reply.json['task_id']}?wait=0.2")
    assert (shown.status, shown.json["status"]) == (200, "running")
    assert (await balancer.ask("GET", "/tasks/nobody?wait=5")).status == 404
    work.let_go()


@pytest.mark.parametrize(
    "wait", ["-1", "61", "60.1", "x", "", "1e1", "nan", "inf", "١", "5s", "0x1"]
)
async def test_a_wait_that_is_none_is_refused(balancer: RunningBalancer, wait: str) -> None:
    """Before anything is waited for."""
    reply = await balancer.ask("GET", f"/tasks/nobody?wait={wait}")
    assert (reply.status, reply.code) == (400, "invalid_field")
    assert reply.json["error"] == "Invalid wait: expected a number of seconds from 0 to 60"


async def test_those_who_wait_are_bounded(
    balancer: RunningBalancer, work: HeldWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past it the answer is 429 with Retry-After, and nothing was accepted."""
    monkeypatch.setattr(balancer.balancer.engine, "waiters", Waiters(limit=1))
    first = asyncio.create_task(
        balancer.task("hold", {"label": "a"}, headers=_prefer("respond-async, wait=60"))
    )
    await wait_until(lambda: work.running, "it runs")
    (task,) = balancer.balancer.engine.scheduler.tasks()
    refused: list[Reply] = [
        await balancer.ask("GET", f"/tasks/{task.id}?wait=1"),
        await balancer.task("hello", headers=_prefer("respond-async, wait=1")),
        await balancer.task("hello", headers={"Idempotency-Key": "k"}),
        await balancer.task("hello", headers={"Idempotency-Key": "k"}, chunked=True),
    ]
    assert {(reply.status, reply.code) for reply in refused} == {(429, "queue_full")}
    assert all(reply.headers["Retry-After"] == "5" for reply in refused)
    assert len(balancer.balancer.engine.scheduler.tasks()) == 1
    assert (await balancer.task("hello", headers=_prefer("respond-async"))).status == 202
    work.let_go()
    assert (await first).status == 200


async def test_a_stop_lets_everybody_go(tmp_path: Path, work: HeldWork) -> None:
    """Polls show the task as it is, calls are told to come again with their key: it goes on."""
    store = f"sqlite:///{tmp_path}/tasks.db"
    async with running_worker(*PLAIN, *work.functions()) as worker:
        async with running_balancer(tmp_path, worker.url, store_url=store) as balancer:
            call = asyncio.create_task(
                balancer.task("hold", {"label": "a"}, headers={"Idempotency-Key": "k"})
            )
            await wait_until(lambda: work.running, "it runs")
            (task,) = balancer.balancer.engine.scheduler.tasks()
            poll = asyncio.create_task(balancer.ask("GET", f"/tasks/{task.id}?wait=60"))
            preferring = asyncio.create_task(
                balancer.task("hold", {"label": "b"}, headers=_prefer("respond-async, wait=60"))
            )
            await _somebody_waits(balancer, 3)
            await balancer.balancer.stop()
            told = await asyncio.gather(call, poll, preferring)
        work.let_go()
    assert [reply.status for reply in told] == [503, 200, 202]
    assert (told[0].code, told[0].json["task_id"]) == ("shutting_down", task.id)
    assert told[0].headers["Retry-After"] == "1"
    assert told[1].json["status"] == "running"


async def test_a_drain_waits_for_calls_with_a_key(
    balancer: RunningBalancer, work: HeldWork
) -> None:
    """As for calls without one; a poll does not hold it up."""
    call = asyncio.create_task(
        balancer.task("hold", {"label": "a"}, headers={"Idempotency-Key": "k"})
    )
    await wait_until(lambda: work.running, "it runs")
    (task,) = balancer.balancer.engine.scheduler.tasks()
    poll = asyncio.create_task(balancer.ask("GET", f"/tasks/{task.id}?wait=60"))
    await _somebody_waits(balancer, 2)
    assert not balancer.balancer.engine.idle
    work.let_go()
    assert (await call).status == 200
    assert (await poll).status == 200
    assert balancer.balancer.engine.idle
