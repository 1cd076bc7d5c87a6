"""A task while the core holds it."""

from __future__ import annotations

import pytest

from balancer.core.live_task import LiveTask
from shared.ids import TaskId
from shared.task import Mode, TaskRequest
from shared.task_state import TaskEvent, TaskStatus
from tests.fakes.scheduler_rig import NOW_S, Rig, Sink


def test_a_task_begins_queued_and_moves_by_the_table() -> None:
    """Its state is what the table says."""
    task = Rig().task("t")
    assert task.status is TaskStatus.QUEUED
    task.apply(TaskEvent.DISPATCHED)
    assert task.status is TaskStatus.RUNNING


def test_a_task_with_a_moment_begins_scheduled() -> None:
    """Without one it cannot."""
    task = Rig().task("t")
    with pytest.raises(AssertionError):
        task.schedule()
    task.due_s = NOW_S
    task.schedule()
    assert task.status is TaskStatus.SCHEDULED
    with pytest.raises(AssertionError):
        task.schedule()


def test_its_size_is_what_it_keeps_in_memory() -> None:
    """Input and metadata."""
    task = Rig().task("t", size=10)
    assert task.size == 10
    request = TaskRequest(function="f", contract=1, group="g", input=b"12345", metadata=b"678")
    assert LiveTask(TaskId("t"), ("g", 1, "f"), request, Sink(), created_s=NOW_S).size == 8


@pytest.mark.parametrize("mode", list(Mode))
def test_only_a_stream_shows_pieces(mode: Mode) -> None:
    """Whatever a function yields in another mode, its caller sees the end only."""
    assert Rig().task("t", mode=mode).streams is (mode is Mode.STREAM)
