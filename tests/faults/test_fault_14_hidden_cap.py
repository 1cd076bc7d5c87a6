"""Fault 14: the worker call is capped at a hidden 60 s."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.andera_worker import AUTH_KEY, JsonObject, andera_worker
from tests.fakes.in_process_balancer import Reply, RunningBalancer, running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.jumping_loop import JumpingLoop, LoopClock, in_jumping_time
from tests.fakes.waiting import wait_until
from worker import function

LONG_S = 280.0  # under TASK_TIMEOUT, 300 s, and over every cap that a library has by default


async def _call_for_long(
    loop: JumpingLoop, balancer: RunningBalancer, gate: asyncio.Event
) -> Reply:
    call = asyncio.create_task(balancer.task("work"))
    scheduler = balancer.balancer.engine.scheduler
    await wait_until(lambda: scheduler.counts().running == 1, "it runs")
    await loop.pass_time(LONG_S)
    assert not call.done()
    gate.set()
    return await call


def test_a_call_over_a_link_may_take_as_long_as_its_deadline(tmp_path: Path) -> None:
    """A function that runs for 280 s is answered; only its own limits end it."""

    async def main(loop: JumpingLoop) -> None:
        gate, clock = asyncio.Event(), LoopClock(loop)

        @function(timeout_s=10_000)
        async def work() -> str:
            """Takes long."""
            await gate.wait()
            return "done"

        async with (
            running_worker(work, clock=clock) as worker,
            running_balancer(tmp_path, worker.url, clock=clock) as balancer,
        ):
            reply = await _call_for_long(loop, balancer, gate)
            assert (reply.status, reply.json["result"]) == (200, "done")

    in_jumping_time(main)


def test_so_may_a_call_to_a_plain_http_worker(tmp_path: Path) -> None:
    """No time-out of an HTTP library stands between the caller and its deadline."""

    async def main(loop: JumpingLoop) -> None:
        gate = asyncio.Event()

        async def work(given: JsonObject) -> object:
            await gate.wait()
            return given

        async with andera_worker(LB_KEY) as worker:
            worker.calls["work"] = work
            entry = {"url": worker.url, "auth_key": AUTH_KEY}
            async with running_balancer(tmp_path, entry, clock=LoopClock(loop)) as balancer:
                reply = await _call_for_long(loop, balancer, gate)
                assert (reply.status, reply.json["result"]) == (200, {})

    in_jumping_time(main)


def test_the_limit_that_ends_a_call_is_the_one_in_the_settings(tmp_path: Path) -> None:
    """TASK_TIMEOUT ends a call that names no deadline: 504, 300 s after it came."""

    async def main(loop: JumpingLoop) -> None:
        clock = LoopClock(loop)

        @function(timeout_s=10_000)
        async def work() -> None:
            """Takes for ever."""
            await asyncio.Event().wait()

        async with (
            running_worker(work, clock=clock) as worker,
            running_balancer(tmp_path, worker.url, clock=clock) as balancer,
        ):
            call = asyncio.create_task(balancer.task("work"))
            scheduler = balancer.balancer.engine.scheduler
            await wait_until(lambda: scheduler.counts().running == 1, "it runs")
            await loop.pass_time(299)
            assert not call.done()
            await loop.pass_time(2)
            reply = await call
            assert (reply.status, reply.code) == (504, "timeout")

    in_jumping_time(main)
