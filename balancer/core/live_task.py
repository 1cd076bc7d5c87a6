"""A task while the core holds it: hot, slotted, changed in place by the scheduler alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.task import Mode
from shared.task_state import TaskStatus, after

if TYPE_CHECKING:
    from balancer.core.stream_flow import StreamFlow
    from shared.ids import LaneKey, TaskId, Token, WorkerId
    from shared.task import AttemptRecord, Sink, TaskRequest
    from shared.task_state import TaskEvent

_QUEUED = TaskStatus.QUEUED


class LiveTask:
    """One task between its acceptance and its end.

    Attributes:
        id: the task's id.
        lane: (group, contract, function) it waits in.
        request: what the caller asked for. `request.input` is b"" for a durable task whose input was
            left in the store (`input_stored`); the engine loads it at dispatch.
        sink: where pieces and the end go.
        durable: committed to the store; at least once.
        seq: place among equal priorities; given by the scheduler once and kept over refusals and
            requeues, so that a task goes back to its own place.
        deadline_s: monotonic time by which it must have ended; None for no limit.
        queue_deadline_s: monotonic time by which it must have a slot; None for the deadline.
        status: assigned by `apply` only, but for the first (`schedule`).
        token, worker, started_s: of the current attempt; None while there is none.
        attempts: attempts spent (a refusal and a lost worker spend none).
        number: executions begun, for display; the token decides.
        deaths: workers that died while they ran it.
        max_attempts: attempts allowed.
        pieces: pieces passed on, by all attempts; a stream that has shown one cannot be retried.
        flow: what of its stream was passed on and read; None before the first piece.
        due_s: monotonic time of its next start, while scheduled; None otherwise.
        size: bytes it counts against MAX_QUEUE_BYTES.
        history: attempts that ended without ending the task; the engine's, None while there is none.
    """

    __slots__ = (
        "attempts",
        "created_s",
        "deadline_s",
        "deaths",
        "due_s",
        "durable",
        "flow",
        "history",
        "id",
        "input_stored",
        "lane",
        "max_attempts",
        "number",
        "pieces",
        "queue_deadline_s",
        "request",
        "seq",
        "sink",
        "size",
        "started_s",
        "status",
        "token",
        "worker",
    )

    def __init__(
        self,
        task_id: TaskId,
        lane: LaneKey,
        request: TaskRequest,
        sink: Sink,
        *,
        created_s: float,
        durable: bool = False,
        input_stored: bool = False,
        deadline_s: float | None = None,
        queue_deadline_s: float | None = None,
    ) -> None:
        self.id = task_id
        self.lane = lane
        self.request = request
        self.sink = sink
        self.durable = durable
        self.input_stored = input_stored
        self.created_s = created_s
        self.deadline_s = deadline_s
        self.queue_deadline_s = queue_deadline_s
        self.seq = 0
        self.status = _QUEUED
        self.token: Token | None = None
        self.worker: WorkerId | None = None
        self.started_s: float | None = None
        self.attempts = 0
        self.number = 0
        self.deaths = 0
        self.max_attempts = 1
        self.pieces = 0
        self.flow: StreamFlow | None = None
        self.due_s: float | None = None
        self.history: list[AttemptRecord] | None = None
        metadata = request.metadata
        self.size = len(request.input) + (0 if metadata is None else len(metadata))

    def apply(self, event: TaskEvent) -> None:
        """Move to the state that the table gives for this event."""
        self.status = after(self.status, event)

    def schedule(self) -> None:
        """Begin life as scheduled: a new or restored task that has a `due_s`."""
        assert self.status is TaskStatus.QUEUED
        assert self.due_s is not None
        self.status = TaskStatus.SCHEDULED

    @property
    def streams(self) -> bool:
        """Tell whether its pieces are passed on."""
        return self.request.mode is Mode.STREAM
