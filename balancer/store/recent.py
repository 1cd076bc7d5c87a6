"""Sync and stream tasks as `GET /tasks` shows them: those that run, and the last that ended.

They live in memory only, without inputs, and what is long is left out: what is shown must not cost
more than what is done. A finished task keeps its `LiveTask`, but not its sink, which may hold a
stream; so remembering costs the hot path one deque append, and records are made when somebody looks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from shared.ids import Token, WorkerId
from shared.task import AttemptRecord, TaskRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.core.live_task import LiveTask
    from shared.ids import TaskId
    from shared.task import Outcome, Piece

KEPT = 10_000  # contract §1: the last 10,000 sync and stream tasks
KEPT_RESULT = (
    4096  # bytes; 10,000 results of this size are 40 MB, about what the rest of them costs
)
KEPT_DETAILS = 16  # problems of one input; a worker tells up to 10,000


@dataclass(frozen=True, slots=True)
class WallClock:
    """Turns monotonic seconds into wall clock times.

    Attributes:
        wall: the wall clock when the process started.
        mono_s: the monotonic clock at the same moment.
    """

    wall: datetime
    mono_s: float

    def at(self, mono_s: float) -> datetime:
        """Return the wall clock time of a monotonic one."""
        return self.wall + timedelta(seconds=mono_s - self.mono_s)

    def mono_s_of(self, at: datetime) -> float:
        """Return the monotonic time of a wall clock one."""
        return self.mono_s + (at - self.wall).total_seconds()


class _Gone:
    """The sink of a task that has ended: nobody is told anything any more."""

    def piece(self, piece: Piece) -> None:
        """Drop a piece."""

    def finished(self, outcome: Outcome) -> None:
        """Drop an end."""


_GONE = _Gone()


class Finished(NamedTuple):
    """A task that ended, as shown of memory."""

    task: LiveTask
    outcome: Outcome
    finished_s: float


class RecentTasks:
    """The last finished tasks that are not durable, by id and by age."""

    def __init__(self, clock: WallClock, kept: int = KEPT) -> None:
        self._clock = clock
        self._kept = kept
        self._by_age: deque[TaskId] = deque()
        # Plain tuples: one that has names takes five times as long to make.
        self._by_id: dict[TaskId, tuple[LiveTask, Outcome, float]] = {}

    def add(self, task: LiveTask, outcome: Outcome, finished_s: float) -> None:
        """Remember a task that just ended; the oldest is forgotten past the bound."""
        task.request.input = b""
        task.sink = _GONE
        result, why = outcome.result, outcome.failure
        if result is not None and len(result) > KEPT_RESULT:
            outcome = replace(outcome, result=None)  # the caller's answer still holds the other one
        elif why is not None and len(why.details) > KEPT_DETAILS:
            few = why.details[:KEPT_DETAILS]
            outcome = replace(outcome, failure=replace(why, details=few))
        by_age = self._by_age
        by_age.append(task.id)
        self._by_id[task.id] = (task, outcome, finished_s)
        if len(by_age) > self._kept:
            del self._by_id[by_age.popleft()]

    def __iter__(self) -> Iterator[Finished]:
        return map(Finished._make, self._by_id.values())

    def get(self, task_id: TaskId) -> TaskRecord | None:
        """Return the record of a finished task, or None when it is not among the last."""
        kept = self._by_id.get(task_id)
        return None if kept is None else self.record(Finished(*kept))

    def record(self, kept: Finished) -> TaskRecord:
        """Return what callers see of a remembered task."""
        return record_of(kept.task, self._clock, kept.outcome, kept.finished_s)

    def newest(self) -> list[TaskRecord]:
        """Return every remembered task, newest first."""
        return [self.record(Finished(*self._by_id[key])) for key in reversed(self._by_age)]

    def __len__(self) -> int:
        return len(self._by_age)


def record_of(
    task: LiveTask,
    clock: WallClock,
    outcome: Outcome | None = None,
    finished_s: float | None = None,
) -> TaskRecord:
    """Return what callers see of a task that is held in memory."""
    request = task.request
    group, contract, function = task.lane
    attempts = tuple(task.history or ())
    last = current_attempt(task, clock, outcome, finished_s)
    if last is not None:
        attempts += (last,)
    return TaskRecord(
        task_id=task.id,
        group=group,
        function=function,
        contract=contract,
        mode=request.mode,
        priority=request.priority,
        status=task.status if outcome is None else outcome.status,
        created_at=clock.at(task.created_s),
        started_at=attempts[0].started_at if attempts else None,
        finished_at=None if finished_s is None else clock.at(finished_s),
        attempts=attempts,
        worker=attempts[-1].worker if attempts else None,
        result=outcome.result if outcome else None,
        failure=outcome.failure if outcome else None,
        metadata=request.metadata,
        correlation_id=request.correlation_id,
        origin=request.origin,
        due_at=None if task.due_s is None or outcome else clock.at(task.due_s),
    )


def current_attempt(
    task: LiveTask,
    clock: WallClock,
    outcome: Outcome | None = None,
    finished_s: float | None = None,
) -> AttemptRecord | None:
    """Return the attempt that runs, or the one that an outcome ended; None when there is none."""
    if task.token is None or task.started_s is None:
        return None
    return AttemptRecord(
        n=task.number,
        worker=task.worker or WorkerId(""),
        token=Token(task.token),
        started_at=clock.at(task.started_s),
        finished_at=None if finished_s is None else clock.at(finished_s),
        outcome=outcome.status.value if outcome else None,
        code=outcome.failure.code if outcome and outcome.failure else None,
    )
