"""The worker's own queue: tasks that were submitted to it directly, and their retries.

Strict priority, then first come first served; a retry goes back to its own place. Bounded in count
and in bytes. Tasks that came over a link never enter it.
"""

from __future__ import annotations

from enum import StrEnum
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.ids import TaskId, Token
    from shared.task import Sink, TaskRequest

NEVER = float("inf")
MAX_REMOVED = 64  # removed tasks the heap may hold beyond those that wait, before it is rebuilt


class Place(StrEnum):
    """Where a direct task is."""

    WAITING = "waiting"  # for a slot
    BACKOFF = "backoff"  # for the time of its next attempt
    RUNNING = "running"
    OVER = "over"


class DirectTask:
    """A task that came to this worker without a balancer, until its end.

    Attributes:
        id: the task's id.
        request: what the caller asked for.
        sink: where pieces and the end go.
        place: changed by `DirectQueue` only.
        seq: its place among equal priorities, kept over retries.
        deadline_s: monotonic time by which it must have ended; None for none.
        due_s: monotonic time of the next attempt, while in backoff.
        attempts: attempts spent.
        max_attempts: attempts allowed.
        token: of the current attempt; None while there is none.
        streamed: pieces were passed on, so that another attempt would repeat them.
    """

    __slots__ = (
        "attempts",
        "deadline_s",
        "due_s",
        "id",
        "max_attempts",
        "place",
        "request",
        "seq",
        "sink",
        "streamed",
        "token",
    )

    def __init__(
        self,
        task_id: TaskId,
        request: TaskRequest,
        sink: Sink,
        *,
        max_attempts: int = 1,
        deadline_s: float | None = None,
    ) -> None:
        self.id = task_id
        self.request = request
        self.sink = sink
        self.max_attempts = max_attempts
        self.deadline_s = deadline_s
        self.place = Place.OVER
        self.seq = 0
        self.due_s = NEVER
        self.attempts = 0
        self.token: Token | None = None
        self.streamed = False

    @property
    def size(self) -> int:
        """Return the bytes it counts against MAX_QUEUE_BYTES."""
        return len(self.request.input) + len(self.request.metadata or b"")


class DirectQueue:
    """The direct tasks that wait, for a slot or for their next attempt.

    Args:
        max_count: tasks that may wait.
        max_bytes: bytes of their inputs.

    Attributes:
        size: bytes of the inputs that wait.
        waiting: the tasks that could start now; changed by the queue only.
    """

    __slots__ = (
        "_backoff",
        "_earliest_s",
        "_heap",
        "_max_bytes",
        "_max_count",
        "_seq",
        "size",
        "waiting",
    )

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._heap: list[tuple[float, int, DirectTask]] = []  # removed ones stay until they surface
        self.waiting = 0
        self._backoff: dict[TaskId, DirectTask] = {}
        self._earliest_s = NEVER  # no deadline or next attempt is before it
        self._seq = 0
        self.size = 0

    def __len__(self) -> int:
        return self.waiting + len(self._backoff)

    @property
    def best_priority(self) -> float:
        """Return the priority of the next task; 1 when none waits."""
        self._clean()
        return self._heap[0][0] if self._heap else 1

    def room_for(self, task: DirectTask) -> bool:
        """Tell whether the bounds allow one more."""
        return len(self) < self._max_count and self.size + task.size <= self._max_bytes

    def push(self, task: DirectTask) -> None:
        """Put a task at its place; a new one behind its equals."""
        if task.seq == 0:
            self._seq += 1
            task.seq = self._seq
        self._enter(task, Place.WAITING)
        self.waiting += 1
        heappush(self._heap, (task.request.priority, task.seq, task))

    def postpone(self, task: DirectTask, due_s: float) -> None:
        """Keep a task until its next attempt is due."""
        task.due_s = due_s
        self._enter(task, Place.BACKOFF)
        self._backoff[task.id] = task
        self._earliest_s = min(self._earliest_s, due_s)

    def pop(self) -> DirectTask | None:
        """Take the next task out; None when none can start."""
        self._clean()
        if not self._heap:
            return None
        task = heappop(self._heap)[2]
        self._leave(task, Place.RUNNING)
        return task

    def remove(self, task: DirectTask) -> None:
        """Take a task out wherever it waits; one that does not wait is left alone."""
        if task.place in (Place.WAITING, Place.BACKOFF):
            self._leave(task, Place.OVER)
            self._clean()

    def tick(self, now_s: float) -> list[DirectTask]:
        """Let the retries wait for a slot that are due; take out and return those past their deadline."""
        if now_s < self._earliest_s:
            return []
        self._earliest_s = NEVER
        over: list[DirectTask] = []
        for task in [*(entry[2] for entry in self._heap), *self._backoff.values()]:
            if task.place is Place.WAITING or task.place is Place.BACKOFF:
                self._look(task, now_s, over)
        return over

    def _look(self, task: DirectTask, now_s: float, over: list[DirectTask]) -> None:
        if task.deadline_s is not None and task.deadline_s <= now_s:
            self._leave(task, Place.OVER)
            over.append(task)
            return
        if task.place is Place.BACKOFF and task.due_s <= now_s:
            self._leave(task, Place.RUNNING)
            self.push(task)
        due_s = task.due_s if task.place is Place.BACKOFF else NEVER
        deadline_s = NEVER if task.deadline_s is None else task.deadline_s
        self._earliest_s = min(self._earliest_s, due_s, deadline_s)

    def _enter(self, task: DirectTask, place: Place) -> None:
        task.place = place
        self.size += task.size
        if task.deadline_s is not None:
            self._earliest_s = min(self._earliest_s, task.deadline_s)

    def _leave(self, task: DirectTask, place: Place) -> None:
        if task.place is Place.WAITING:
            self.waiting -= 1
        else:
            del self._backoff[task.id]
        task.place = place
        self.size -= task.size

    def _clean(self) -> None:
        """Drop what was removed: from the top at once, elsewhere when it is more than what waits."""
        while self._heap and self._heap[0][2].place is not Place.WAITING:
            heappop(self._heap)
        if len(self._heap) > 2 * self.waiting + MAX_REMOVED:
            self._heap = [entry for entry in self._heap if entry[2].place is Place.WAITING]
            heapify(self._heap)
