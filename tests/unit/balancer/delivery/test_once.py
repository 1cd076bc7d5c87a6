"""Once: one task a key, however many ask for it at the same time, and whoever of them leaves."""

from __future__ import annotations

import asyncio

import pytest

from balancer.core.live_task import LiveTask
from balancer.delivery.once import KeyOf, Named, Once, Taken
from balancer.store.memory import MemoryStore
from shared.errors import Failure, Unavailable, failure
from shared.ids import TaskId
from tests.fakes.engine_rig import Caller, request
from tests.fakes.manual_clock import START, ManualClock
from tests.fakes.stored_tasks import committed, stored_task

ORDER = Named("lb", "order-1", "f")
OTHER = Named("lb", "order-1", "g")


class Desk:
    """Accepts tasks into a store, when its gate is open.

    Attributes:
        gate: open at first.
        accepted: the ids that were given.
        refusal: what is said instead, while it is set.
    """

    def __init__(self, retention_s: float = 100.0) -> None:
        self.store = MemoryStore(asyncio.get_running_loop().call_soon)
        self.clock = ManualClock()
        self.once = Once(self.store.once, self.clock, retention_s)
        self.gate = asyncio.Event()
        self.gate.set()
        self.accepted: list[str] = []
        self.refusal: Failure | None = None

    async def accept(self, key_of: KeyOf) -> LiveTask | Failure:
        """Accept a task."""
        await self.gate.wait()
        if self.refusal is not None:
            return self.refusal
        stored = stored_task(len(self.accepted) + 1)
        object.__setattr__(stored, "once", key_of(stored.task_id))
        object.__setattr__(stored, "created_at", self.clock.utc_now())
        try:
            await committed(lambda done: self.store.tasks.accept(stored, done))
        except Unavailable as exc:
            return exc.failure
        self.accepted.append(stored.task_id)
        return LiveTask(
            stored.task_id, ("g", 1, "f"), request(), Caller(), created_s=0, durable=True
        )

    async def ask(self, named: Named = ORDER) -> Taken | Failure:
        """Ask for the task of a key."""
        return await self.once.task(named, self.accept)


def code(taken: Taken | Failure) -> str:
    """Return the code of a refusal."""
    assert isinstance(taken, Failure)
    return taken.code


async def test_the_same_request_again_is_the_same_task() -> None:
    """It is said to be replayed; another payload is a conflict, another owner a task of its own."""
    desk = Desk()
    assert await desk.ask() == Taken(TaskId("t1"))
    assert await desk.ask() == Taken(TaskId("t1"), replayed=True)
    assert code(await desk.ask(OTHER)) == "idempotency_conflict"
    assert await desk.ask(Named("you", "order-1", "f")) == Taken(TaskId("t2"))
    assert desk.accepted == ["t1", "t2"]


async def test_the_key_expires_with_its_retention() -> None:
    """From then on it names another task."""
    desk = Desk(retention_s=100)
    await desk.ask()
    found = await desk.store.once.find("lb", "order-1", START)
    assert found is not None
    assert (found.expires_at - START).total_seconds() == 100
    desk.clock.advance(99.9)
    assert await desk.ask() == Taken(TaskId("t1"), replayed=True)
    desk.clock.advance(0.1)
    assert await desk.ask() == Taken(TaskId("t2"))


async def test_those_who_come_while_it_is_accepted_wait_and_have_the_same_task() -> None:
    """One of them has it accepted; another payload is a conflict even then."""
    desk = Desk()
    desk.gate.clear()
    asking = [asyncio.create_task(desk.ask()) for _ in range(5)]
    asking.append(asyncio.create_task(desk.ask(OTHER)))
    await asyncio.sleep(0)
    desk.gate.set()
    first, *others, conflict = await asyncio.gather(*asking)
    assert first == Taken(TaskId("t1"))
    assert others == [Taken(TaskId("t1"), replayed=True)] * 4
    assert code(conflict) == "idempotency_conflict"
    assert desk.accepted == ["t1"]


async def test_a_refusal_is_not_remembered() -> None:
    """Nor is it the answer to those who came meanwhile: each is refused or accepted itself."""
    desk = Desk()
    desk.gate.clear()
    desk.refusal = failure("queue_full")
    first = asyncio.create_task(desk.ask())
    second = asyncio.create_task(desk.ask(OTHER))
    await asyncio.sleep(0)
    desk.gate.set()
    assert code(await first) == "queue_full"
    desk.refusal = None
    assert await second == Taken(TaskId("t1"))


async def test_a_caller_that_leaves_does_not_take_the_others_along() -> None:
    """What it began is finished for them."""
    desk = Desk()
    desk.gate.clear()
    first, second = asyncio.create_task(desk.ask()), asyncio.create_task(desk.ask())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    desk.gate.set()
    assert await second == Taken(TaskId("t1"), replayed=True)


async def test_a_key_that_another_balancer_took_meanwhile_is_found() -> None:
    """Its task is the answer, or the conflict."""
    desk = Desk()
    theirs = Desk()
    theirs.store = desk.store

    async def too_late(key_of: KeyOf) -> LiveTask | Failure:
        await theirs.accept(lambda task_id: key_of(task_id))
        return failure("idempotency_conflict")

    assert await desk.once.task(ORDER, too_late) == Taken(TaskId("t1"), replayed=True)
    assert code(await desk.ask(OTHER)) == "idempotency_conflict"


async def test_a_store_that_cannot_be_read_is_told_to_everybody() -> None:
    """Nothing is accepted blindly."""
    desk = Desk()
    await desk.store.close()
    asking = [desk.ask(), desk.ask()]
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in told] == [Unavailable, Unavailable]
    assert desk.accepted == []


async def test_closing_leaves_what_is_under_way() -> None:
    """Those who wait for it are let go."""
    desk = Desk()
    desk.gate.clear()
    asking = asyncio.create_task(desk.ask())
    await asyncio.sleep(0)
    await desk.once.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
