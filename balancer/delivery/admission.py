"""What stands before the queue: which lane a request is for, and the task that it becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.live_task import LiveTask
from shared.edge.limits import MAX_SECONDS
from shared.errors import Failure, failure
from shared.ids import TaskId
from shared.protocol.limits import MAX_BODY
from shared.task import Mode

if TYPE_CHECKING:
    from balancer.core.scheduler import Scheduler
    from balancer.store.recent import WallClock
    from shared.ids import IdSource, LaneKey
    from shared.task import Sink, TaskRequest

# Looking a member of an enumeration up by its name costs as much as a call.
_SYNC, _STREAM = Mode.SYNC, Mode.STREAM


class Admission:
    """Checks requests and makes tasks of them.

    Args:
        scheduler: knows who hosts what.
        ids: of tasks.
        wall: turns moments of the wall clock into monotonic seconds.
        task_timeout_s: deadline of tasks whose callers wait and that name none.
        queue_timeout_s: longest wait for a slot; None for the task's deadline.

    Attributes:
        closed: new tasks are refused.
    """

    def __init__(
        self, scheduler: Scheduler, ids: IdSource, wall: WallClock, task_timeout_s: float,
        queue_timeout_s: float | None,
    ) -> None:  # fmt: skip
        self.closed = False
        self._scheduler = scheduler
        self._ids = ids
        self._wall = wall
        self._task_timeout_s = task_timeout_s
        self._queue_timeout_s = queue_timeout_s

    def lane(self, request: TaskRequest, *, durable: bool) -> LaneKey | Failure:
        """Return the lane of a request, or why it cannot be taken."""
        if self.closed:
            return failure("shutting_down", retry_after_s=5)
        if len(request.input) + len(request.metadata or b"") > MAX_BODY:
            return failure("body_too_large")  # no link carries it, whatever REQUEST_BODY_LIMIT says
        group = request.group or self._scheduler.only_group(request.function, request.contract)
        if isinstance(group, Failure):
            return group
        lane = (group, request.contract, request.function)
        if request.mode is _SYNC and not durable:
            return lane  # the scheduler checks it when it takes the task
        refused = self._scheduler.check(*lane, durable=durable)
        if refused is not None:
            return refused
        if request.mode is _STREAM:
            spec = self._scheduler.spec(lane)
            if spec is not None and not spec.streaming:
                return failure(
                    "streaming_not_supported",
                    f"Function '{request.function}' does not support streaming",
                )
        return lane

    def task(self, lane: LaneKey, request: TaskRequest, sink: Sink, now_s: float) -> LiveTask:
        """Return the task of a call."""
        limit_s, wait_s = request.deadline_s, self._queue_timeout_s
        if limit_s is None:
            limit_s = self._task_timeout_s
        return LiveTask(
            TaskId(self._ids.next_id()), lane, request, sink, created_s=now_s,
            deadline_s=now_s + limit_s, queue_deadline_s=None if wait_s is None else now_s + wait_s,
        )  # fmt: skip

    def durable_task(
        self, lane: LaneKey, request: TaskRequest, sink: Sink, now_s: float, *, call: bool
    ) -> LiveTask | Failure:
        """Return the task of a request that is to be committed, or why its moment is none.

        Args:
            lane, request, sink, now_s: of the task.
            call: its caller waits for its end, so it must have one.
        """
        due_s = self._due_s(request, now_s)
        if isinstance(due_s, Failure):
            return due_s
        deadline_s = None if request.deadline_s is None else now_s + request.deadline_s
        if call and deadline_s is None:
            deadline_s = (now_s if due_s is None else due_s) + self._task_timeout_s
        task = LiveTask(
            TaskId(self._ids.next_id()), lane, request, sink, created_s=now_s, durable=True,
            deadline_s=deadline_s,
        )  # fmt: skip
        task.due_s = due_s
        return task

    def _due_s(self, request: TaskRequest, now_s: float) -> float | Failure | None:
        """Return when a task may start; None for at once."""
        delay_s = request.delay_s or 0.0
        if request.run_at is not None:
            delay_s = self._wall.mono_s_of(request.run_at) - now_s
            if delay_s > MAX_SECONDS:
                text = f"Invalid run_at: must be at most {MAX_SECONDS:.0f} seconds ahead"
                return failure("invalid_field", text)
        return now_s + delay_s if delay_s > 0 else None
