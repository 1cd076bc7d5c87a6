"""What is kept of tasks' ends: counters whose number does not depend on what workers say."""

from __future__ import annotations

from balancer.core.live_task import LiveTask
from balancer.delivery.journal import Journal
from shared.errors import Failure
from shared.ids import TaskId
from shared.log import TaskLog
from shared.log_ring import LogRing
from shared.task import Outcome, TaskRequest
from shared.task_state import TaskStatus
from tests.fakes.manual_clock import ManualClock
from tests.fakes.scheduler_rig import Sink

LANE = ("g", 1, "f")


def test_codes_that_nobody_knows_count_as_one() -> None:
    """A worker of a later version, or one that lies, adds one label to the metrics, not a thousand."""
    clock = ManualClock()
    ring = LogRing(clock)
    journal = Journal(clock, TaskLog(ring))
    for code in ("function_error", *(f"made-up-{n}" for n in range(1000))):
        request = TaskRequest(function="f", contract=1)
        task = LiveTask(TaskId(code), LANE, request, Sink(), created_s=0.0)
        failed = Outcome(TaskStatus.FAILED, None, Failure(code, "message"))
        journal.ended(task, failed, 1.0)
        assert failed.failure is not None
        assert failed.failure.code == code  # the caller's own
    assert journal.counters.ended == {(LANE, "function_error"): 1, (LANE, "other"): 1000}
    assert "made-up-999" in ring.lines()[-1]
