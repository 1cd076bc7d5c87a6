"""The last sync and stream tasks: what is kept of them, and what must not be."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime

from balancer.core.live_task import LiveTask
from balancer.store.recent import KEPT_DETAILS, KEPT_RESULT, RecentTasks, WallClock
from shared.errors import Failure, ParamProblem
from shared.ids import TaskId
from shared.task import Mode, Outcome, TaskRequest
from shared.task_state import TaskStatus
from tests.fakes.scheduler_rig import Sink

CLOCK = WallClock(datetime(2030, 1, 1, tzinfo=UTC), 0.0)
SUCCEEDED = TaskStatus.SUCCEEDED


def _task(name: str, sink: Sink | None = None, mode: Mode = Mode.SYNC) -> LiveTask:
    request = TaskRequest(function="f", contract=1, input=b'{"a":1}', mode=mode)
    return LiveTask(TaskId(name), ("g", 1, "f"), request, sink or Sink(), created_s=1.0)


def test_the_oldest_is_forgotten_past_the_bound() -> None:
    """By the order of their ends; the newest comes first."""
    recent = RecentTasks(CLOCK, kept=2)
    for name in ("a", "b", "c"):
        recent.add(_task(name), Outcome(SUCCEEDED), 2.0)
    assert [record.task_id for record in recent.newest()] == ["c", "b"]
    assert [ended.task.id for ended in recent] == ["b", "c"]
    assert (len(recent), recent.get(TaskId("a"))) == (2, None)


def test_neither_its_input_nor_its_sink_is_kept() -> None:
    """A sink may hold a whole stream, or the answer with its result."""
    recent = RecentTasks(CLOCK)
    sink = Sink()
    seen = weakref.ref(sink)
    task = _task("a", sink, Mode.STREAM)
    recent.add(task, Outcome(SUCCEEDED), 2.0)
    del sink
    gc.collect()
    assert seen() is None
    assert task.request.input == b""
    task.sink.finished(Outcome(SUCCEEDED))  # whoever is late does no harm


def test_a_long_result_and_a_long_list_of_problems_are_left_out() -> None:
    """What is shown must not cost more than what is done."""
    recent = RecentTasks(CLOCK)
    long = Outcome(SUCCEEDED, b"x" * (KEPT_RESULT + 1))
    recent.add(_task("long"), long, 2.0)
    problems = tuple(ParamProblem(param=str(n), problem="p") for n in range(1000))
    wrong = Outcome(TaskStatus.FAILED, None, Failure("invalid_params", "first", problems))
    recent.add(_task("wrong"), wrong, 2.0)
    shown = recent.get(TaskId("wrong"))
    assert shown is not None
    assert shown.failure == Failure("invalid_params", "first", problems[:KEPT_DETAILS])
    record = recent.get(TaskId("long"))
    assert record is not None
    assert record.result is None
    assert long.result is not None  # the caller's own
    assert wrong.failure is not None
    assert len(wrong.failure.details) == 1000
