"""The pruner: finished tasks are kept as long as promised, and no longer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from balancer.maintenance.pruner import Pruner
from balancer.store.memory import MemoryStore
from balancer.store.ports import TaskFilter
from shared.ids import TaskId
from tests.fakes.manual_clock import START, ManualClock
from tests.fakes.stored_tasks import accept, finish, stored_task, webhook
from tests.fakes.waiting import wait_until

DAY_S = 86_400.0


async def filled(ends: list[float]) -> MemoryStore:
    """Return a store with tasks that ended so many seconds after the start."""
    store = MemoryStore(asyncio.get_running_loop().call_soon)
    for number, seconds in enumerate(ends, start=1):
        await accept(store, stored_task(number))
        await finish(store, f"t{number}", at=START + timedelta(seconds=seconds))
    return store


@pytest.mark.parametrize(
    ("passed_s", "pruned"), [(0, 0), (DAY_S, 0), (DAY_S + 1, 1), (DAY_S + 100, 2)]
)
async def test_a_task_is_kept_for_its_retention(passed_s: float, pruned: int) -> None:
    """A task goes when its end is longer ago than RESULT_RETENTION."""
    clock = ManualClock()
    store = await filled([0, 50])
    clock.advance(passed_s)
    assert await Pruner(store.tasks, clock=clock, retention_s=DAY_S).prune() == pruned


async def test_all_that_is_due_goes_in_batches() -> None:
    """One look is not limited to one transaction."""
    clock = ManualClock()
    store = await filled([0] * 25)
    clock.advance(DAY_S)
    pruner = Pruner(store.tasks, clock=clock, retention_s=10, batch=10)
    assert await pruner.prune() == 25
    assert pruner.pruned == 25


async def test_a_pending_webhook_keeps_its_task() -> None:
    """A result that is still to be delivered is not forgotten."""
    clock = ManualClock()
    store = await filled([])
    await accept(store, stored_task(1))
    await finish(store, "t1", at=START, row=webhook("t1"))
    clock.advance(10 * DAY_S)
    assert await Pruner(store.tasks, clock=clock, retention_s=DAY_S).prune() == 0
    assert await store.tasks.get(TaskId("t1")) is not None


async def test_it_runs_until_it_is_cancelled_and_outlives_an_outage() -> None:
    """A store that is out makes it look again later, not die."""
    clock = ManualClock()
    store = await filled([0])
    clock.advance(2 * DAY_S)
    store.fail()
    pruner = Pruner(store.tasks, clock=clock, retention_s=DAY_S, interval_s=0)
    running = asyncio.ensure_future(pruner.run())
    await asyncio.sleep(0)
    assert pruner.pruned == 0
    store.heal()
    await wait_until(lambda: pruner.pruned == 1, "the task is pruned")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(("keep", "left"), [(25, 25), (24, 24), (3, 3), (1, 1)])
async def test_past_a_number_those_go_that_ended_first(keep: int, left: int) -> None:
    """MAX_RESULTS bounds what is kept, however young it is."""
    store = await filled([float(number) for number in range(25)])
    clock = ManualClock()
    clock.advance(100)
    pruner = Pruner(store.tasks, clock=clock, retention_s=DAY_S, keep=keep, batch=10)
    assert await pruner.prune() == 25 - left
    page, _ = await store.tasks.list(TaskFilter(), limit=100, cursor=None)
    assert [record.task_id for record in page] == [f"t{n}" for n in range(25, 25 - left, -1)]


async def test_what_is_unfinished_is_no_result() -> None:
    """A full queue takes no place from results, and is never pruned."""
    store = await filled([0, 1])
    await accept(store, *(stored_task(number) for number in range(10, 20)))
    clock = ManualClock()
    clock.advance(100)
    assert await Pruner(store.tasks, clock=clock, retention_s=DAY_S, keep=2).prune() == 0
    clock.advance(100 * DAY_S)
    assert await Pruner(store.tasks, clock=clock, retention_s=DAY_S, keep=1).prune() == 2
    assert await store.tasks.count() == 10
