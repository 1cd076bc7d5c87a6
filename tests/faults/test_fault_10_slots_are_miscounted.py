"""Fault 10: a pushed report overwrites a reservation in flight; a release can exceed the limit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.fakes.in_process_balancer import RunningBalancer, running_balancer
from tests.fakes.in_process_worker import AUTH_KEY, running_worker
from worker import Function, function

SLOTS = 3
CALLS = 300


class Crowd:
    """Counts how many calls run at one time."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.ran = 0

    def function(self) -> Function[..., object]:
        """Return a function that takes a few turns of the loop."""

        @function
        async def work(turns: int) -> None:
            """Works a little."""
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
                self.ran += 1
            finally:
                self.now -= 1

        return work


async def _flood(balancer: RunningBalancer, count: int) -> list[int]:
    replies = await asyncio.gather(*(balancer.task("work", {"turns": n % 7}) for n in range(count)))
    return [reply.status for reply in replies]


async def test_no_dispatch_finds_its_slot_taken(tmp_path: Path) -> None:
    """Reports cross dispatches all the time; still no worker is sent more than it has slots for."""
    crowd = Crowd()
    async with (
        running_worker(crowd.function(), slots=SLOTS) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        assert await _flood(balancer, CALLS) == [200] * CALLS
        assert (crowd.ran, crowd.most) == (CALLS, SLOTS)
        assert balancer.balancer.engine.counters.refusals == 0
        slots = worker.engine.slots()
        assert (slots.used, slots.available) == (0, SLOTS)
        ledger = balancer.balancer.engine.scheduler.worker(balancer.balancer.fleet.workers()[0].id)
        assert ledger is not None
        assert ledger.ledger.free == SLOTS


async def test_nor_with_tasks_that_come_to_the_worker_directly(tmp_path: Path) -> None:
    """Direct tasks of the worker's own queue and the balancer's share the slots without excess."""
    crowd = Crowd()
    async with (
        running_worker(crowd.function(), slots=SLOTS) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
        aiohttp.ClientSession(headers={"Authorization": AUTH_KEY}) as direct,
    ):

        async def ask(n: int) -> int:
            body = {"function": "work", "contract": 1, "input": {"turns": n % 5}}
            async with direct.post(f"{worker.url}/task", json=body) as reply:
                return reply.status

        own, ours = await asyncio.gather(
            asyncio.gather(*(ask(n) for n in range(CALLS // 3))), _flood(balancer, CALLS)
        )
        assert set(own) | set(ours) == {200}
        assert crowd.most == SLOTS
        assert crowd.ran == CALLS + CALLS // 3


async def test_slots_survive_cancels(tmp_path: Path) -> None:
    """After cancelled calls the slots are all there again, and not one more."""
    crowd = Crowd()
    async with (
        running_worker(crowd.function(), slots=SLOTS) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        calls = [asyncio.create_task(balancer.task("work", {"turns": 50})) for _ in range(30)]
        for n in range(60):
            await asyncio.sleep(0)
            if n % 3 == 0:
                calls[n // 3].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert await _flood(balancer, 20) == [200] * 20
        assert crowd.most <= SLOTS
        slots = worker.engine.slots()
        assert (slots.used, slots.available) == (0, SLOTS)
