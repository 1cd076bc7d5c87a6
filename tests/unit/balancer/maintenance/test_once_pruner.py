"""The pruner of keys: they go when they expire or are too many, and not before."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from balancer.maintenance.once_pruner import OncePruner
from balancer.store.memory import MemoryStore
from balancer.store.ports_once import OnceKey
from shared.ids import TaskId
from tests.fakes.manual_clock import START, ManualClock
from tests.fakes.waiting import wait_until


def filled(count: int) -> MemoryStore:
    """Return a store with keys that expire after 1, 2, 3 … seconds."""
    store = MemoryStore(asyncio.get_running_loop().call_soon)
    for number in range(1, count + 1):
        store.shelves.once["lb", f"k{number}"] = OnceKey(
            owner="lb",
            key=f"k{number}",
            fingerprint="f",
            task_id=TaskId(f"t{number}"),
            expires_at=START + timedelta(seconds=number),
        )
    return store


async def test_all_that_is_due_goes_in_batches() -> None:
    """A batch that is full is followed by the next one at once."""
    clock = ManualClock()
    store = filled(25)
    pruner = OncePruner(store.once, clock=clock, keep=100, batch=10)
    assert await pruner.prune() == 0
    clock.advance(22)
    assert await pruner.prune() == 22
    assert [key for _, key in store.shelves.once] == ["k23", "k24", "k25"]


async def test_more_than_is_kept_goes_too() -> None:
    """The oldest first."""
    store = filled(5)
    assert await OncePruner(store.once, clock=ManualClock(), keep=3).prune() == 2
    assert [key for _, key in store.shelves.once] == ["k3", "k4", "k5"]


async def test_an_outage_is_waited_out() -> None:
    """The next look is soon enough."""
    clock = ManualClock()
    store = filled(5)
    clock.advance(10)
    store.fail()
    running = asyncio.create_task(OncePruner(store.once, clock=clock, keep=3, interval_s=0).run())
    await asyncio.sleep(0)
    assert len(store.shelves.once) == 5
    store.heal()
    await wait_until(lambda: not store.shelves.once, "the keys are gone")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
