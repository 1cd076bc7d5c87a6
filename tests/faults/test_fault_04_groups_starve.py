"""Fault 4: with two groups, excess tasks of one time out while slots are free."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import HeldWork
from tests.fakes.waiting import wait_until

EXCESS = 40


async def test_two_groups_do_not_starve_each_other(tmp_path: Path) -> None:
    """While one group is swamped, the other's calls are served; then all of the first one's are."""
    busy, calm = HeldWork(), HeldWork()
    calm.let_go()
    async with (
        running_worker(*busy.functions(), group="busy", slots=1) as one,
        running_worker(*calm.functions(), group="calm", slots=1) as two,
        running_balancer(tmp_path, one.url, two.url) as balancer,
    ):

        def call(group: str, n: int) -> asyncio.Task[int]:
            async def ask() -> int:
                reply = await balancer.task(
                    "hold", {"label": str(n)}, group=group, deadline_s=20, priority=1
                )
                return reply.status

            return asyncio.create_task(ask())

        swamped = [call("busy", n) for n in range(EXCESS)]
        scheduler = balancer.balancer.engine.scheduler
        await wait_until(lambda: scheduler.counts().waiting == EXCESS - 1, "one group is swamped")
        assert await asyncio.gather(*(call("calm", n) for n in range(5))) == [200] * 5
        assert len(busy.begun) == 1
        busy.let_go()
        assert await asyncio.gather(*swamped) == [200] * EXCESS
        assert busy.begun == [str(n) for n in range(EXCESS)]


async def test_nor_do_two_functions_of_one_worker(tmp_path: Path) -> None:
    """Tasks of one function that fill the slots do not let another's wait longer than their turn."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        scheduler = balancer.balancer.engine.scheduler
        calls: list[asyncio.Task[object]] = []
        for n, name in enumerate(("hold", "hold_stream", "hold", "hold_stream")):
            calls.append(asyncio.create_task(balancer.task(name, {"label": str(n)})))
            await wait_until(lambda: scheduler.counts().tasks == len(calls), "it is held")
        work.let_go()
        await asyncio.gather(*calls)
        assert work.begun == ["0", "1", "2", "3"]  # the order of acceptance, across functions
