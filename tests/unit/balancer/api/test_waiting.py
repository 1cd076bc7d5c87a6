"""Waiting for ends: what the query may say, and tasks that are held elsewhere or not kept at all."""

from __future__ import annotations

import asyncio

import pytest

from balancer.api.views import TaskViews
from balancer.api.waiting import Waiting, read_wait
from shared.errors import CallerError, Conflict
from shared.ids import TaskId
from shared.task_state import TaskStatus
from tests.fakes.engine_rig import EngineRig
from tests.fakes.stored_tasks import accept, finish, stored_task

T1 = TaskId("t1")


@pytest.fixture
async def rig() -> EngineRig:
    """An engine without workers, over a store in memory."""
    rig = EngineRig()
    await rig.start()
    return rig


def waiting_on(rig: EngineRig) -> Waiting:
    """Return what waits at an engine."""
    return Waiting(rig.engine, TaskViews(rig.engine, rig.store, rig.clock))


@pytest.mark.parametrize(("text", "wait_s"), [("0", 0), ("60", 60), ("2.5", 2.5), ("05", 5)])
def test_a_wait_is_a_number_of_seconds(text: str, wait_s: float) -> None:
    """None at all is none."""
    assert read_wait({"wait": text}) == wait_s
    assert read_wait({}) == 0


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "61", "60.1", "1e1", " 1", "1 ", "nan", "1.", "000"]
)
def test_what_is_no_wait_is_refused(text: str) -> None:
    """Before anything is waited for."""
    with pytest.raises(CallerError) as caught:
        read_wait({"wait": text})
    assert caught.value.failure.code == "invalid_field"


async def test_an_end_that_happened_before_comes_from_the_store(rig: EngineRig) -> None:
    """As it was told then."""
    await accept(rig.store, stored_task(1))
    await finish(rig.store, "t1")
    outcome = await waiting_on(rig).outcome(T1, None)
    assert outcome is not None
    assert (outcome.status, outcome.result) == (TaskStatus.SUCCEEDED, b'{"text":"Hello"}')


async def test_a_task_that_another_balancer_holds_is_looked_at(rig: EngineRig) -> None:
    """Until it has ended, or the time is over."""
    await accept(rig.store, stored_task(1))
    waiting = waiting_on(rig)
    assert await waiting.outcome(T1, 0.01) is None
    shown = await waiting.record(T1, 0.01)
    assert shown is not None
    assert shown.status is TaskStatus.QUEUED
    looking = asyncio.create_task(waiting.outcome(T1, None))
    await asyncio.sleep(0)
    await finish(rig.store, "t1")
    outcome = await looking
    assert outcome is not None
    assert outcome.ok


async def test_a_result_that_is_not_kept_any_more_is_not_made_again(rig: EngineRig) -> None:
    """Who asks for it by its key is told so; who looks for the task finds none."""
    waiting = waiting_on(rig)
    with pytest.raises(Conflict) as caught:
        await waiting.outcome(T1, None)
    assert caught.value.failure.code == "idempotency_conflict"
    assert await waiting.record(T1, 5) is None
