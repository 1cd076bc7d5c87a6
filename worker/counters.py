"""What a worker has done, as plain integers that a metrics collector reads (DESIGN §6)."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from shared.task import Outcome

# Upper bounds of the histogram of run times, in seconds; the last bucket has none.
RUN_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_SUCCEEDED = TaskStatus.SUCCEEDED  # to look it up in its class costs as much as a call


class FunctionCounters:
    """Of one function.

    Attributes:
        succeeded, failed, timed_out, cancelled: attempts decided so.
        run_seconds: the sum of their run times, up to the decision.
        buckets: attempts by run time, one more than RUN_BOUNDS_S; not cumulative.
    """

    __slots__ = ("buckets", "cancelled", "failed", "run_seconds", "succeeded", "timed_out")

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0
        self.timed_out = 0
        self.cancelled = 0
        self.run_seconds = 0.0
        self.buckets = [0] * (len(RUN_BOUNDS_S) + 1)

    def count(self, outcome: Outcome, seconds: float) -> None:
        """Count a decision."""
        status = outcome.status
        if status is _SUCCEEDED:
            self.succeeded += 1
        elif status is TaskStatus.FAILED:
            self.failed += 1
        elif status is TaskStatus.TIMED_OUT:
            self.timed_out += 1
        else:
            self.cancelled += 1
        self.run_seconds += seconds
        self.buckets[bisect_left(RUN_BOUNDS_S, seconds)] += 1


class WorkerCounters:
    """Of the whole worker.

    Attributes:
        functions: by name of the function.
        began: attempts that got a slot.
        refused: dispatches that were refused, by code.
        direct: tasks that came directly.
        queue_full: direct tasks refused because the queue was full.
        retried: attempts of direct tasks that were followed by another.
        stuck: attempts whose code did not end when it was told to.
        late: decisions that came after the first and did not count.
    """

    __slots__ = (
        "began",
        "direct",
        "functions",
        "late",
        "queue_full",
        "refused",
        "retried",
        "stuck",
    )

    def __init__(self) -> None:
        self.functions: dict[str, FunctionCounters] = {}
        self.began = 0
        self.refused: dict[str, int] = {}
        self.direct = 0
        self.queue_full = 0
        self.retried = 0
        self.stuck = 0
        self.late = 0

    def function(self, name: str) -> FunctionCounters:
        """Return the counters of a function, made when it is new."""
        found = self.functions.get(name)
        if found is None:
            found = self.functions[name] = FunctionCounters()
        return found

    def refuse(self, code: str) -> None:
        """Count a refused dispatch."""
        self.refused[code] = self.refused.get(code, 0) + 1
