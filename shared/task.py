"""What a task is, on its way in (`TaskRequest`), on its way out (`Outcome`, `Piece`), and on record.

`input`, `result` and `metadata` stay JSON text as bytes from the caller to the function and back:
they are spliced, not decoded, on the way (DESIGN §6). Hot values are slotted and changed in place
by their single owner; records that outlive a call are frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from datetime import datetime

    from shared.errors import Failure
    from shared.ids import TaskId, Token, WorkerId

PRIORITY_FIRST = 1
PRIORITY_LAST = 2_097_152  # Andera's bound, BullMQ's 2^21


class Mode(StrEnum):
    """How the caller wants the answer."""

    SYNC = "sync"  # in the same call
    STREAM = "stream"  # piece by piece in the same call
    WEBHOOK = "webhook"  # later, to a URL; the task is durable


class Origin(StrEnum):
    """Where a task came from; everything enters by the same engine."""

    API = "api"
    ORCHESTRATION = "orchestration"
    RUN = "run"
    FLOW = "flow"
    COMPONENT = "component"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """Where and how a result is delivered.

    Attributes:
        url: http or https; passed the guard before anything is sent.
        headers: the caller's own headers, in order.
        envelope: send the outcome envelope for successes too, not the bare result.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    envelope: bool = False


_SYNC = Mode.SYNC
_SUCCEEDED = TaskStatus.SUCCEEDED


class TaskRequest(msgspec.Struct, kw_only=True, gc=False):
    """One request to run one function once, checked by the edge codec.

    Attributes:
        function: name of the function.
        group: group that hosts it; "" until the balancer has found the only one that does.
        contract: version of the group's interface.
        input: JSON object text.
        priority: 1 is first; any number from 1 to 2097152.
        mode: how the caller wants the answer.
        webhook: set when mode is webhook.
        timeout_s: limit of one run, else the function's, else the worker's default.
        deadline_s: limit of the whole call, waiting included, from acceptance.
        max_attempts: attempts in all, else the function's max_retries + 1.
        metadata: JSON text returned with the task, never interpreted.
        correlation_id: the caller's `x-correlation-id`, or one that was made.
        worker_key: `x-wr-auth`: key for a plain HTTP worker. Secret.
        origin: by which door the task came in.
        delay_s: seconds from acceptance to its first start.
        run_at: the moment of its first start; one of the two at most, of a durable task only.
        retry_on: codes after which another attempt follows; None for those that it may cure.
    """

    function: str
    contract: int
    group: str = ""
    input: bytes = b"{}"
    priority: float = 1
    mode: Mode = _SYNC
    webhook: WebhookTarget | None = None
    timeout_s: float | None = None
    deadline_s: float | None = None
    max_attempts: int | None = None
    metadata: bytes | None = None
    correlation_id: str = ""
    worker_key: str | None = None
    origin: Origin = Origin.API
    delay_s: float | None = None
    run_at: datetime | None = None
    retry_on: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        """Show everything but the key."""
        shown = (
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if name != "worker_key"
        )
        return f"TaskRequest({', '.join(shown)})"


class PieceKind(StrEnum):
    """What one piece of a stream is."""

    TEXT = "text"  # UTF-8 text, verbatim
    BYTES = "bytes"  # verbatim; base64 in SSE and NDJSON
    JSON = "json"  # JSON text of one value
    PROGRESS = "progress"  # JSON text of {"done", "total"?, "message"?}; left out of plain text


@dataclass(slots=True)
class Piece:
    """One piece of a stream.

    Attributes:
        seq: 1, 2, 3 … within the attempt.
        kind: how `data` is to be read.
        data: the piece itself.
    """

    seq: int
    kind: PieceKind
    data: bytes


@dataclass(slots=True)
class Outcome:
    """How a task ended, or an attempt.

    Attributes:
        status: a terminal status.
        result: JSON text of what the function returned; None when it returned nothing.
        failure: set whenever status is not succeeded.
        worker: worker that ran it last, when one did.
        attempts: attempts spent.
    """

    status: TaskStatus
    result: bytes | None = None
    failure: Failure | None = None
    worker: WorkerId | None = None
    attempts: int = 0

    @property
    def ok(self) -> bool:
        """Tell whether the function returned."""
        return self.status is _SUCCEEDED


class Sink(Protocol):
    """Where a task's pieces and its end go: a waiting call, a stream, the store.

    Calls are synchronous and must not raise or block; `finished` comes exactly once and last.
    """

    def piece(self, piece: Piece) -> None:
        """Take one piece of a stream."""
        ...

    def finished(self, outcome: Outcome) -> None:
        """Take the end of the task."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One execution of a task, as shown to callers."""

    n: int  # 1, 2, 3 …; for display, the token decides
    worker: str  # `host:port`
    token: Token
    started_at: datetime
    finished_at: datetime | None = None
    outcome: str | None = None  # a terminal status, `lost`, `refused` or `superseded`
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookState:
    """How far the delivery of a result is."""

    status: str  # pending, delivered, dead
    attempts: int = 0
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A task as `GET /tasks/{id}` shows it (contract §5)."""

    task_id: TaskId
    group: str
    function: str
    contract: int
    mode: Mode
    priority: float
    status: TaskStatus
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    worker: str | None = None
    result: bytes | None = None  # JSON text
    failure: Failure | None = None
    metadata: bytes | None = None  # JSON text
    webhook: WebhookState | None = None
    correlation_id: str = ""
    origin: Origin = Origin.API
    due_at: datetime | None = None  # of its next start, while it is scheduled
    replay_of: TaskId | None = None  # the dead task whose request this one runs again
