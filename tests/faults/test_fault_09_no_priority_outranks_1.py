"""Fault 9: a task without priority outranks priority 1."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.in_process_balancer import JsonObject, running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import HeldWork
from tests.fakes.waiting import wait_until


@pytest.mark.parametrize(
    ("priorities", "order"),
    [
        ([1, None, 1, None], [0, 1, 2, 3]),
        ([None, 1, None, 1], [0, 1, 2, 3]),
        ([5, None, 1, 2.5], [1, 2, 3, 0]),
        ([2097152, 2, 1.5, None], [3, 2, 1, 0]),
    ],
)
async def test_a_task_without_priority_has_priority_1(
    tmp_path: Path, priorities: list[float | None], order: list[int]
) -> None:
    """Nothing outranks 1: without a priority a task waits its turn among those of priority 1."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        scheduler = balancer.balancer.engine.scheduler
        calls = [asyncio.create_task(balancer.task("hold", {"label": "first"}))]
        await wait_until(lambda: work.begun, "the slot is taken")
        for n, priority in enumerate(priorities):
            more: JsonObject = {} if priority is None else {"priority": priority}
            calls.append(asyncio.create_task(balancer.task("hold", {"label": str(n)}, more=more)))
            await wait_until(lambda: scheduler.counts().tasks == len(calls), "it waits")
        work.let_go()
        await asyncio.gather(*calls)
        assert work.begun == ["first", *map(str, order)]
