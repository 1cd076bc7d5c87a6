"""Fault 13: a timed-out handler goes on while its slot is given away."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from shared.slot_report import SlotReport
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.jumping_loop import JumpingLoop, LoopClock, in_jumping_time
from tests.fakes.task_functions import hello
from tests.fakes.waiting import wait_until
from worker import function

STUCK_S = 10.0  # over what a worker gives code that was told to stop


def test_the_slot_is_held_until_the_code_has_really_ended(tmp_path: Path) -> None:
    """A thread that cannot be ended keeps its slot, shown as stuck; nobody else gets it."""
    release = threading.Event()

    @function(timeout_s=1)
    def stubborn() -> None:
        """Does not heed its time limit."""
        release.wait(20)

    async def main(loop: JumpingLoop) -> None:
        clock = LoopClock(loop)
        async with (
            running_worker(stubborn, hello, slots=2, clock=clock) as worker,
            running_balancer(tmp_path, worker.url, clock=clock) as balancer,
        ):
            late = asyncio.create_task(balancer.task("stubborn"))
            await wait_until(lambda: worker.engine.slots().used == 1, "it runs")
            await loop.pass_time(2)
            reply = await late
            assert (reply.status, reply.code) == (504, "timeout")
            assert worker.engine.slots().used == 1
            await loop.pass_time(STUCK_S)
            fleet = balancer.balancer.fleet

            def stuck() -> SlotReport | None:
                report = fleet.workers()[0].report
                return report if report is not None and report.stuck else None

            report = await wait_until(stuck, "the slot is shown as stuck")
            assert report is not None
            assert (report.used, report.available, report.limit) == (1, 1, 2)
            calls = [asyncio.create_task(balancer.task("hello")) for _ in range(5)]
            assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
            assert worker.engine.slots().used == 1
            release.set()
            await wait_until(lambda: worker.engine.slots().available == 2, "the slot is back")

    try:
        in_jumping_time(main)
    finally:
        release.set()
