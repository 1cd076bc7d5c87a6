"""What the client returns: tasks and workers as the API shows them (contract §5), typed.

Read leniently: a field that this version does not know is ignored, one that an older server leaves
out has its default.
"""

from __future__ import annotations

from datetime import datetime  # msgspec reads the annotations when it decodes
from typing import Any, TypeAlias

import msgspec

from shared.errors import CODES, Failure, error_of
from shared.ids import TaskId
from shared.task_state import TERMINAL, TaskStatus

# A decoded JSON value. Its shape is a matter between the caller and the function, so the caller's
# type checker is not made to ask about each step into it.
Json: TypeAlias = Any


class AttemptInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a task."""

    n: int  # 1, 2, 3 …
    worker: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str | None = None  # a terminal status, or lost, refused, superseded
    code: str | None = None


class DeliveryInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How far the delivery of a result to its webhook is."""

    status: str  # pending, delivered, dead
    attempts: int = 0
    next_at: datetime | None = None


class TaskInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the balancer knows it.

    Attributes:
        task_id: its id.
        status: where it is; `finished` tells whether that is final.
        group: group that hosts the function.
        function: name of the function.
        contract: version of the group's interface.
        mode: sync, stream or webhook.
        priority: 1 is first.
        created_at: when it was accepted.
        started_at: when its first attempt was handed to a worker.
        finished_at: when its outcome was known.
        due_at: when it may start, while it is scheduled.
        attempts: its executions so far.
        worker: worker that ran it last.
        result: what the function returned; None until then, and when it returned nothing.
        error: why it did not succeed, for a person.
        code: the same, for a program: a code of the error table.
        metadata: what the caller attached.
        webhook: the delivery of its result, for a webhook task.
        replay_of: the dead task whose request it runs again.
    """

    task_id: TaskId
    status: TaskStatus
    group: str = ""
    function: str = ""
    contract: int = 1
    mode: str = "sync"
    priority: float = 1
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    attempts: tuple[AttemptInfo, ...] = ()
    worker: str | None = None
    result: Json = None
    error: str | None = None
    code: str | None = None
    metadata: Json = None
    webhook: DeliveryInfo | None = None
    replay_of: str | None = None

    @property
    def finished(self) -> bool:
        """Tell whether the status is final."""
        return self.status in TERMINAL

    def value(self) -> Json:
        """Return the result of a task that succeeded.

        Raises:
            CabrankError: the task failed (the error of its code), or has not finished.
        """
        if self.status is TaskStatus.SUCCEEDED:
            return self.result
        code = self.code or _CODE_OF_STATUS.get(self.status, "bad_answer")
        text = self.error or (
            CODES[code].message if self.finished else f"Task is still {self.status}"
        )
        error = error_of(Failure(code, text))
        error.task_id = self.task_id
        raise error


_CODE_OF_STATUS = {
    TaskStatus.FAILED: "function_error",
    TaskStatus.CANCELLED: "cancelled",
    TaskStatus.TIMED_OUT: "timeout",
    TaskStatus.EXPIRED: "expired",
    TaskStatus.QUARANTINED: "quarantined",
}


class SlotsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's slots."""

    used: int = 0
    available: int = 0
    limit: int = 0
    queue: int = 0


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the balancer sees it; what is not known yet is None or empty.

    Attributes:
        id: `host:port`.
        url: its address as the balancer dials it.
        status: ready, maintenance or unreachable.
        group: its group.
        contract: version of the group's interface.
        slots: its slots.
        functions: the functions it hosts, as its /health shows them.
        services: its services and how they are.
        tags: the facts that it tells about itself.
        system: its machine's load.
        weight: its share when placement weighs workers.
        link: cabrank, legacy or none.
        problem: why it cannot be used, when it cannot.
        differences: how its functions differ from those of its group's first worker.
    """

    id: str
    url: str = ""
    status: str = "unreachable"
    group: str | None = None
    contract: int | None = None
    slots: SlotsInfo | None = None
    functions: tuple[dict[str, Json], ...] = ()
    services: tuple[dict[str, Json], ...] = ()
    tags: dict[str, Json] = {}
    system: dict[str, Json] = {}
    weight: float = 1.0
    link: str = "none"
    problem: str | None = None
    differences: str | None = msgspec.field(name="contractMismatchReason", default=None)


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `GET /workers`."""

    workers: tuple[WorkerInfo, ...]


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the tasks that the balancer knows, newest first.

    Attributes:
        tasks: the tasks.
        next: cursor of the page that follows; None on the last one.
    """

    tasks: tuple[TaskInfo, ...]
    next: str | None = None


class DeadWebhookInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that ran out of tries."""

    host: str = ""
    attempts: int = 0
    error: str = ""
    outcome: str = ""


class DeadLetterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter.

    Attributes:
        id: the task's id, or the webhook's.
        kind: task, webhook or quarantine.
        code: why it was given up.
        error: the same, for a person.
        died_at: when it was given up.
        task_id: its task.
        group: group of the function.
        function: name of the function.
        contract: version of the group's interface.
        status: of the task.
        webhook: of the kind webhook.
        task: the task, when the letter was asked for alone.
    """

    id: str
    kind: str
    code: str = ""
    error: str | None = None
    died_at: datetime | None = None
    task_id: TaskId
    group: str = ""
    function: str = ""
    contract: int = 1
    status: str = ""
    webhook: DeadWebhookInfo | None = None
    task: TaskInfo | None = None


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the dead letters, newest first.

    Attributes:
        dead: the letters.
        next: cursor of the page that follows; None on the last one.
        counts: how many there are of each kind, whatever the page shows.
    """

    dead: tuple[DeadLetterInfo, ...]
    next: str | None = None
    counts: dict[str, int] = {}


class ReplayedInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a dead letter has become.

    Attributes:
        kind: of the letter.
        task_id: the task that runs now, or whose webhook is sent again.
        replay_of: the dead task, when a new one was made.
        webhook_id: of a webhook.
    """

    kind: str
    task_id: TaskId
    replay_of: str | None = None
    webhook_id: str | None = None


class ReplayedMany(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters were replayed, and whether others match as well."""

    replayed: int
    more: bool = False


class PurgedCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters were forgotten."""

    purged: int
