"""Fault 19: memory percentage swamps the choice of worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.andera_worker import AUTH_KEY, AnderaWorker, JsonObject, andera_worker
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import LB_KEY
from tests.fakes.waiting import wait_until


async def test_free_slots_choose_the_worker_whatever_its_memory(tmp_path: Path) -> None:
    """A worker whose machine is nearly full of memory gets its share by its free slots."""
    gate = asyncio.Event()

    async def hold(given: JsonObject) -> object:
        await gate.wait()
        return given

    def prepared(worker: AnderaWorker, memory: float) -> JsonObject:
        worker.system = {"uptime": 1, "usedMemoryPercent": memory, "cpuLoad": memory / 100}
        worker.calls["hold"] = hold
        return {"url": worker.url, "auth_key": AUTH_KEY}

    async with andera_worker(LB_KEY, limit=4) as full, andera_worker(LB_KEY, limit=4) as empty:
        entries = (prepared(full, 99.0), prepared(empty, 1.0))
        async with running_balancer(tmp_path, *entries) as balancer:
            calls = [asyncio.create_task(balancer.task("hold")) for _ in range(8)]
            await wait_until(lambda: full.used + empty.used == 8, "all run")
            assert (full.used, empty.used) == (4, 4)
            gate.set()
            await asyncio.gather(*calls)
            gate.clear()
            fleet = balancer.balancer.fleet
            await wait_until(
                lambda: [each.report and each.report.used for each in fleet.workers()] == [0, 0],
                "both have told that their slots are free",
            )
            calls = [asyncio.create_task(balancer.task("hold")) for _ in range(4)]
            await wait_until(lambda: full.used + empty.used == 4, "four run")
            assert (full.used, empty.used) == (2, 2)
            gate.set()
            await asyncio.gather(*calls)
