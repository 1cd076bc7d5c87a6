"""The pruner of dead letters: by age and by number, and never what has not ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.maintenance.dead_pruner import DeadPruner
from balancer.store.memory import MemoryStore
from balancer.store.ports_dead import DeadFilter
from shared.task_state import TaskStatus
from tests.fakes.manual_clock import START, ManualClock
from tests.fakes.stored_tasks import accept, failed, finish, stored_task
from tests.fakes.waiting import wait_until

WEEK_S = 7 * 86_400.0
FAILED, QUARANTINED = TaskStatus.FAILED, TaskStatus.QUARANTINED


async def filled(deaths: list[tuple[float, TaskStatus]]) -> MemoryStore:
    """Return a store with letters that died so many seconds after the start."""
    store = MemoryStore(asyncio.get_running_loop().call_soon)
    for number, (seconds, status) in enumerate(deaths, start=1):
        await accept(store, stored_task(number))
        outcome = replace(failed(), status=status)
        await finish(store, f"t{number}", outcome, at=START + timedelta(seconds=seconds))
    return store


async def left(store: MemoryStore) -> list[str]:
    """Return the letters that are left, oldest first."""
    page, _ = await store.dead.list(DeadFilter(), limit=1000, cursor=None)
    return [letter.letter_id for letter in reversed(page)]


@pytest.mark.parametrize(("passed_s", "pruned"), [(WEEK_S, 0), (WEEK_S + 1, 1), (WEEK_S + 60, 2)])
async def test_a_letter_is_kept_for_its_retention(passed_s: float, pruned: int) -> None:
    """It goes when its death is longer ago than DEAD_RETENTION."""
    clock = ManualClock()
    store = await filled([(0, FAILED), (50, FAILED)])
    clock.advance(passed_s)
    pruner = DeadPruner(store.dead, clock=clock, retention_s=WEEK_S, keep=100)
    assert await pruner.prune() == pruned


@settings(max_examples=40, deadline=None)
@given(
    statuses=st.lists(st.sampled_from([FAILED, QUARANTINED]), max_size=12),
    keep=st.integers(1, 12), batch=st.integers(1, 5),
)  # fmt: skip
async def test_past_a_number_the_oldest_go_but_nothing_unfinished(
    statuses: list[TaskStatus], keep: int, batch: int
) -> None:
    """MAX_DEAD bounds what has ended, in whatever batches; a quarantined task waits for a person."""
    store = await filled([(float(n), status) for n, status in enumerate(statuses)])
    pruner = DeadPruner(store.dead, clock=ManualClock(), retention_s=WEEK_S, keep=keep, batch=batch)
    ended = [f"t{n}" for n, status in enumerate(statuses, start=1) if status is FAILED]
    assert await pruner.prune() == max(0, len(ended) - keep)
    gone = set(ended[: max(0, len(ended) - keep)])
    assert await left(store) == [
        f"t{n}" for n in range(1, len(statuses) + 1) if f"t{n}" not in gone
    ]


async def test_what_has_not_ended_outlives_every_retention() -> None:
    """However old a quarantined task is, it can be released."""
    clock = ManualClock()
    store = await filled([(0, QUARANTINED), (1, FAILED)])
    clock.advance(100 * WEEK_S)
    assert await DeadPruner(store.dead, clock=clock, retention_s=1, keep=1).prune() == 1
    assert await left(store) == ["t1"]


async def test_it_runs_until_it_is_cancelled_and_outlives_an_outage() -> None:
    """A store that is out makes it look again later, not die."""
    clock = ManualClock()
    store = await filled([(0, FAILED)])
    clock.advance(2 * WEEK_S)
    store.fail()
    pruner = DeadPruner(store.dead, clock=clock, retention_s=WEEK_S, keep=9, interval_s=0)
    running = asyncio.ensure_future(pruner.run())
    await asyncio.sleep(0)
    assert await left(store) == ["t1"]
    store.heal()

    async def gone() -> bool:
        return await left(store) == []

    await wait_until(gone, "the letter is pruned")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
