"""Admission: when a durable task may start, and by when it must have ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import structs

from balancer.core.live_task import LiveTask
from balancer.delivery.durable import KEPT_INPUT
from shared.errors import Failure
from shared.task_state import TaskStatus
from tests.fakes.engine_rig import EngineRig, request
from tests.fakes.manual_clock import START

YEAR_S = 31_536_000


@pytest.fixture
async def rig() -> EngineRig:
    """An engine without workers whose discovery has not ended, so that it takes everything."""
    rig = EngineRig()
    await rig.start(discovered=False)
    return rig


async def taken(rig: EngineRig, *, call: bool = False, **members: object) -> LiveTask:
    """Return a durable task that must be taken."""
    task = await rig.engine.accept(structs.replace(request(), **members), call=call)
    assert isinstance(task, LiveTask), task
    return task


async def test_a_durable_task_has_the_deadline_that_it_names_or_none(rig: EngineRig) -> None:
    """Nobody waits for it."""
    now_s = rig.clock.monotonic()
    assert (await taken(rig)).deadline_s is None
    assert (await taken(rig, deadline_s=5.0)).deadline_s == now_s + 5
    assert (await taken(rig, deadline_s=5.0, delay_s=60.0)).deadline_s == now_s + 5


async def test_one_whose_caller_waits_ends_by_itself(rig: EngineRig) -> None:
    """By TASK_TIMEOUT after it may start, unless it says when: no call waits for ever."""
    now_s = rig.clock.monotonic()
    assert (await taken(rig, call=True)).deadline_s == now_s + 300
    assert (await taken(rig, call=True, delay_s=60.0)).deadline_s == now_s + 360
    assert (await taken(rig, call=True, deadline_s=5.0)).deadline_s == now_s + 5


async def test_a_moment_is_on_the_wall_clock(rig: EngineRig) -> None:
    """One that has come is now, and a delay of nothing is none."""
    now_s = rig.clock.monotonic()
    later = await taken(rig, run_at=START + timedelta(seconds=90))
    assert later.due_s == pytest.approx(now_s + 90)
    assert later.status is TaskStatus.SCHEDULED
    over: list[dict[str, object]] = [
        {"run_at": START}, {"run_at": START - timedelta(days=1)}, {"delay_s": 0.0},
    ]  # fmt: skip
    for members in over:
        task = await taken(rig, call=False, **members)
        assert (task.due_s, task.status) == (None, TaskStatus.QUEUED)


async def test_a_moment_too_far_ahead_is_refused(rig: EngineRig) -> None:
    """As far as a delay may reach, and no farther."""
    near, far = (START + timedelta(seconds=YEAR_S + more) for more in (0, 1))
    assert (await taken(rig, run_at=near)).status is TaskStatus.SCHEDULED
    refused = await rig.engine.accept(request(run_at=far))
    assert isinstance(refused, Failure)
    assert (refused.code, refused.message) == (
        "invalid_field", f"Invalid run_at: must be at most {YEAR_S} seconds ahead",
    )  # fmt: skip


async def test_a_delayed_task_is_stored_as_scheduled_and_as_queued_when_it_is_due(
    rig: EngineRig,
) -> None:
    """So that lists show what waits for a moment and what for a slot."""
    task = await taken(rig, delay_s=30.0)
    kept = await rig.store.tasks.get(task.id)
    assert kept is not None
    assert (kept.status, kept.due_at) == (TaskStatus.SCHEDULED, START + timedelta(seconds=30))
    rig.tick(30.1)
    kept = await rig.store.tasks.get(task.id)
    assert kept is not None
    assert (kept.status, kept.due_at) == (TaskStatus.QUEUED, None)


async def test_an_input_that_is_left_in_the_store_takes_no_room_in_memory(rig: EngineRig) -> None:
    """A backlog of durable tasks must not have calls turned away."""
    task = await taken(rig, input=b'{"a":"%s"}' % (b"x" * KEPT_INPUT))
    assert task.input_stored
    assert task.size == 0
    assert rig.engine.scheduler.counts().waiting_bytes == 0
