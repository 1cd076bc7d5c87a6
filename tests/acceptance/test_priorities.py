"""The queue as its users see it: strict priority, then first come, first served."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.processes import Bench
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance


async def waiting(bench: Bench) -> int:
    """Return how many tasks wait in all lanes."""
    health = (await bench.request("GET", "/health")).json
    lanes = health["lanes"]
    assert isinstance(lanes, list)
    return sum(lane["waiting"] for lane in lanes)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


async def test_a_later_task_of_priority_1_overtakes_those_of_priority_5(bench: Bench) -> None:
    """With one slot that is busy, what matters most goes first, the others in their order."""
    await bench.fleet(slots=1)
    calls = [asyncio.create_task(bench.call("hold", "busy"))]
    await bench.told("busy")
    for n, (name, priority) in enumerate(
        [("first", 5), ("second", 5), ("urgent", 1), ("third", 5)], start=1
    ):
        calls.append(asyncio.create_task(bench.call("note", name, priority=priority)))

        async def queued(count: int = n) -> bool:
            return await waiting(bench) == count

        await wait_until(queued, f"{n} tasks wait")
    bench.open_gate("busy")
    assert {(await call).status for call in calls} == {200}
    order = [each.name for each in bench.ledger()]
    assert order == ["busy", "urgent", "first", "second", "third"]
