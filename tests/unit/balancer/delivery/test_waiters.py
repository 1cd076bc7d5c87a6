"""Waiters: told of ends from memory, bounded, and gone without a trace."""

from __future__ import annotations

import asyncio

import pytest

from balancer.delivery.waiters import Waiters
from shared.errors import QueueFull
from shared.ids import TaskId
from shared.task import Outcome
from shared.task_state import TaskStatus

DONE = Outcome(TaskStatus.SUCCEEDED, b"1")
A, B = TaskId("a"), TaskId("b")


async def test_everybody_who_waits_for_a_task_is_told_of_its_end() -> None:
    """And nobody else."""
    waiters = Waiters()
    first, second = (asyncio.create_task(waiters.wait(A, None)) for _ in range(2))
    other = asyncio.create_task(waiters.wait(B, None))
    await asyncio.sleep(0)
    waiters.ended(A, DONE)
    waiters.ended(A, DONE)  # an end that comes again is nobody's any more
    assert await asyncio.gather(first, second) == [DONE, DONE]
    assert list(waiters.by_task) == [B]
    waiters.close()
    assert await other is None


async def test_a_wait_that_is_over_leaves_nothing_behind() -> None:
    """It ends without an outcome, and its task's next end finds nobody."""
    waiters = Waiters()
    assert await waiters.wait(A, 0.001) is None
    assert waiters.by_task == {}
    waiters.ended(A, DONE)


async def test_a_caller_that_leaves_leaves_nothing_behind() -> None:
    """Those who wait for the same task go on."""
    waiters = Waiters()
    leaving, staying = (asyncio.create_task(waiters.wait(A, 60)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert len(waiters.by_task[A]) == 1
    waiters.ended(A, DONE)
    assert await staying is DONE
    assert waiters.by_task == {}


async def test_nobody_waits_once_the_process_stops() -> None:
    """Who waits is let go, and who comes then too."""
    waiters = Waiters()
    waiting = asyncio.create_task(waiters.wait(A, None))
    await asyncio.sleep(0)
    waiters.close()
    assert await waiting is None
    assert await waiters.wait(A, None) is None


def test_seats_are_bounded() -> None:
    """Who finds none is told when to come again; a seat is free when its caller has gone."""
    waiters = Waiters(limit=2)
    with waiters.seat(), waiters.seat(call=True):
        assert (len(waiters), waiters.calls) == (2, 1)
        with pytest.raises(QueueFull) as caught, waiters.seat():
            pass
        assert caught.value.failure.code == "queue_full"
        assert caught.value.retry_after_s == 5
    with pytest.raises(ZeroDivisionError), waiters.seat(call=True):
        _ = 1 / 0
    assert (len(waiters), waiters.calls) == (0, 0)
