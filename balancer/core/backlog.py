"""The backlog: every task the core holds, and the places of those that wait.

A task waits in the queue of its lane (queued), among the recovered ones of its lane (queued, held
until discovery has ended), or in the wheel of delays (scheduled). All of them count against the
limits until they are dispatched or end. Every task with a deadline is in the wheel of deadlines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.leases import DeadlineWheel
from shared.errors import failure
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from balancer.core.demand import DemandBoard
    from balancer.core.directory import Directory
    from balancer.core.lane import Lane
    from balancer.core.live_task import LiveTask
    from balancer.core.pool import Pool
    from balancer.core.settings import Settings
    from shared.errors import Failure
    from shared.ids import TaskId

MIN_RETRY_S, MAX_RETRY_S = 1.0, 60.0  # bounds of Retry-After: sooner is a retry storm
ROOM = 0.1  # part of a full lane that should have gone before the caller tries again

_RUNNING = TaskStatus.RUNNING


class Backlog:
    """Tasks between acceptance and end.

    Attributes:
        tasks: every task held, by id.
        recovered: restored tasks that have not begun in this process: a worker may still hold an
            attempt of theirs.
        waiting, waiting_bytes: of all lanes together.
        volatile: tasks held that are not durable.
        stranded: lanes that nobody serves and to which a call has come back; ended at the next tick.
        unsettled: pools where a task may wait although a slot is free; settled before an event ends.
        deadlines, delays: the wheels.
    """

    __slots__ = (
        "_demand",
        "_directory",
        "_seq",
        "_settings",
        "deadlines",
        "delays",
        "recovered",
        "stranded",
        "tasks",
        "unsettled",
        "volatile",
        "waiting",
        "waiting_bytes",
    )

    def __init__(self, directory: Directory, demand: DemandBoard, settings: Settings) -> None:
        self._directory = directory
        self._demand = demand
        self._settings = settings
        self._seq = 0
        self.tasks: dict[TaskId, LiveTask] = {}
        self.recovered: dict[TaskId, LiveTask] = {}
        self.waiting = 0
        self.waiting_bytes = 0
        self.volatile = 0
        self.stranded: dict[Lane, None] = {}
        self.unsettled: dict[Pool, None] = {}
        self.deadlines = DeadlineWheel()
        self.delays = DeadlineWheel()

    # All tasks

    def hold(self, task: LiveTask, now_s: float) -> None:
        """Hold a new task and give it its place among equals; the caller dispatches or files it."""
        if task.due_s is not None:
            if task.due_s > now_s:
                task.schedule()
            else:
                task.due_s = None
        self._seq += 1
        task.seq = self._seq
        self.tasks[task.id] = task
        if not task.durable:
            self.volatile += 1

    def drop(self, task: LiveTask) -> None:
        """Forget a task that is about to end and does not wait."""
        del self.tasks[task.id]
        if not task.durable:
            self.volatile -= 1
        self.unwatch(task)

    def watch(self, task: LiveTask) -> None:
        """Enter a task in the wheel of deadlines; its state says which one counts."""
        due_s = _limit_s(task)
        if due_s is not None:
            self.deadlines.add(task, due_s)

    def unwatch(self, task: LiveTask) -> None:
        """Take a task out of the wheel of deadlines; before its state changes."""
        due_s = _limit_s(task)
        if due_s is not None:
            self.deadlines.remove(task, due_s)

    def watch_run(self, task: LiveTask) -> None:
        """Stop limiting the wait of a task that has its slot, before its state says so."""
        self.unwatch(task)
        if task.deadline_s is not None:
            self.deadlines.add(task, task.deadline_s)

    # Limits

    def full(self, task: LiveTask, lane: Lane, now_s: float) -> Failure | None:
        """Return why a task that must wait cannot. A durable one always can: it is committed."""
        if task.durable:
            return None
        settings = self._settings
        if (
            lane.volatile < settings.max_queue
            and self.waiting_bytes + task.size <= settings.max_queue_bytes
        ):
            return None
        return failure("queue_full", retry_after_s=_room_s(lane, now_s))

    # Waiting

    def file(self, task: LiveTask, lane: Lane) -> None:
        """Let a task wait: for its moment when it is scheduled, else in its own place."""
        lane.waiting += 1
        if not task.durable:
            lane.volatile += 1
        self.waiting += 1
        self.waiting_bytes += task.size
        if task.due_s is not None:
            self.delays.add(task, task.due_s)
        else:
            self.enqueue(task, lane)

    def enqueue(self, task: LiveTask, lane: Lane) -> None:
        """Put a task that counts as waiting into its queue; the caller settles."""
        if self._held_back(task):
            lane.recovered.push(task)
            return
        lane.queue.push(task)
        if lane.queue.head() is task:
            self._offer(lane, task)
        self.unsettled[lane.pool] = None
        served = lane.shapes and not lane.deserted
        if not served and not task.durable:
            self.stranded[lane] = None

    def take_stranded(self) -> list[Lane]:
        """Return the lanes that are stranded, and begin a new list."""
        found = list(self.stranded)
        self.stranded.clear()
        return found

    def take(self, lane: Lane) -> LiveTask:
        """Take the first task of a lane that has one, to dispatch it."""
        task = lane.queue.pop()
        assert task is not None
        lane.dispatched += 1
        self._leave(task, lane)
        if task.queue_deadline_s is not None:
            self.watch_run(task)
        for shape in lane.shapes:
            self._demand.touch(shape)
        return task

    def withdraw(self, task: LiveTask) -> None:
        """Take out a task that waits, wherever it does."""
        lane = self._directory.lanes[task.lane]
        if task.due_s is not None:
            self.delays.remove(task, task.due_s)
        elif self._held_back(task):
            lane.recovered.remove(task)
        else:
            lane.queue.remove(task)
            for shape in lane.shapes:
                self._demand.touch(shape)
        self.recovered.pop(task.id, None)
        self._leave(task, lane)
        self._directory.tidy(lane)

    def release_recovered(self) -> None:
        """Put the recovered tasks into their queues: discovery has ended."""
        for lane in list(self._directory.lanes.values()):
            lane.release_recovered()
            first = lane.queue.head()
            if first is not None:
                self._offer(lane, first)
                self.unsettled[lane.pool] = None

    def _held_back(self, task: LiveTask) -> bool:
        """Tell whether a queued task waits among the recovered ones of its lane."""
        return not self._directory.discovered and task.id in self.recovered

    def _offer(self, lane: Lane, first: LiveTask) -> None:
        priority, seq = first.request.priority, first.seq
        for shape in lane.shapes:
            shape.heads.offer(lane, priority, seq)
            self._demand.touch(shape)

    def _leave(self, task: LiveTask, lane: Lane) -> None:
        lane.waiting -= 1
        if not task.durable:
            lane.volatile -= 1
        self.waiting -= 1
        self.waiting_bytes -= task.size


def _limit_s(task: LiveTask) -> float | None:
    """Return the moment by which something must have happened to a task in its state."""
    deadline_s = task.deadline_s
    queue_deadline_s = task.queue_deadline_s
    if queue_deadline_s is None or task.status is _RUNNING:
        return deadline_s
    if deadline_s is None or queue_deadline_s < deadline_s:
        return queue_deadline_s
    return deadline_s


def _room_s(lane: Lane, now_s: float) -> float:
    """Return the seconds after which a tenth of a full lane should have gone, at its recent pace."""
    if lane.full_s is None or now_s - lane.full_s > MAX_RETRY_S:
        lane.full_s, lane.full_at = now_s, lane.dispatched
    past_s, gone = now_s - lane.full_s, lane.dispatched - lane.full_at
    needed_s = lane.waiting * ROOM * past_s / gone if gone else past_s
    return min(max(needed_s, MIN_RETRY_S), MAX_RETRY_S)
