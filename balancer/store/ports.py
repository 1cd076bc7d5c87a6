"""What survives a restart, behind one small protocol per aggregate.

Writes are group-committed: they are buffered, many share one transaction (and one fsync), and
`done(error)` is called on the event loop once the write is durable, or has failed as a whole. A
failed fsync is an outage, not a warning: later writes fail until the store has been reopened.
Writes of one store are applied in the order of the calls. No driver exception crosses these ports:
errors are `shared.errors.Unavailable`. One behaviour suite runs over every implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from balancer.store.ports_dead import DeadStore
from balancer.store.ports_once import OnceKey, OnceStore
from shared.errors import Unavailable
from shared.ids import TaskId
from shared.task import AttemptRecord, Outcome, TaskRecord, TaskRequest
from shared.webhooks import host_of

Done = Callable[[Unavailable | None], None]

_host_of = lru_cache(maxsize=1024)(host_of)  # callers have few URLs

# `recover` leaves longer inputs in the store: a backlog of large tasks must not fill the memory at start.
INLINE_INPUT_LIMIT = 64 * 1024

# Of one task, the latest ones: a task that is refused for ever must not grow for ever.
MAX_ATTEMPTS_KEPT = 32

# Outcome of an attempt that its worker did not begin: no execution, so nothing is kept of it.
REFUSED = "refused"

# `OutboxStore.due` returns no more bodies than this at once, but always one.
OUTBOX_PAGE_BYTES = 8 * 1024 * 1024  # some of a page may find no room and is read again


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """A durable task as it is kept.

    Attributes:
        task_id: its id.
        request: with its input; `worker_key` arrives here encrypted (Fernet), never in clear.
        created_at: when it was accepted.
        deadline_at: when it must have ended; None for no limit.
        due_at: when its next attempt may start, while it is scheduled.
        order: place among equal priorities; grows with acceptance.
        deaths: workers that died while running it.
        spent: attempts spent.
        number: executions begun.
        record: the public view.
        once: the key that its caller named it by, with which it is accepted; not read back.
    """

    task_id: TaskId
    request: TaskRequest
    created_at: datetime
    deadline_at: datetime | None = None
    due_at: datetime | None = None
    order: int = 0
    deaths: int = 0
    spent: int = 0
    number: int = 0
    record: TaskRecord
    once: OnceKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """One webhook to deliver.

    Attributes:
        webhook_id: stable over retries; sent as `webhook-id`.
        task_id: whose result it is.
        url: where to; passed the guard at acceptance, and passes it again at each try.
        headers: the caller's headers.
        body: the exact bytes to send.
        outcome: succeeded, failed, cancelled or timed_out (`x-cabrank-outcome`).
        attempts: tries made.
        next_at: when the next try is due.
        correlation_id: of the task.
    """

    webhook_id: str
    task_id: TaskId
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    outcome: str
    attempts: int = 0
    next_at: datetime
    correlation_id: str = ""

    @property
    def host(self) -> str:
        """Return the host and port that tries are counted by."""
        return _host_of(self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What `GET /tasks` narrows by; None matches all."""

    status: str | None = None
    function: str | None = None
    group: str | None = None


class TaskStore(Protocol):
    """Durable tasks."""

    def accept(self, task: StoredTask, done: Done) -> None:
        """Keep a new task, and its key; `done(None)` means that they survive a power cut.

        When the key stands for another task, nothing is kept and `done` is told `KeyTaken`.
        """
        ...

    def started(self, task_id: TaskId, attempt: AttemptRecord) -> None:
        """Note that an attempt began (write-behind: recovery does not rest on it)."""
        ...

    def requeued(
        self,
        task_id: TaskId,
        attempt: AttemptRecord | None,
        *,
        deaths: int,
        spent: int,
        due_at: datetime | None,
    ) -> None:
        """Note that an attempt ended without ending the task; `due_at` makes it scheduled.

        An attempt whose outcome is `REFUSED` is forgotten.
        """
        ...

    def finish(
        self,
        task_id: TaskId,
        outcome: Outcome,
        attempt: AttemptRecord | None,
        finished_at: datetime,
        outbox: OutboxRow | None,
        done: Done,
    ) -> None:
        """Commit the end of a task and its outbox row in one transaction.

        A task that is already finished stays as it was, and `done(None)` is called.
        """
        ...

    async def get(self, task_id: TaskId) -> TaskRecord | None:
        """Return a task with its webhook state, or None."""
        ...

    async def list(
        self, chosen: TaskFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[TaskRecord], str | None]:
        """Return a page, newest first, without inputs and results, and the cursor of the next one.

        Raises:
            CallerError: the cursor did not come from here.
        """
        ...

    async def input(self, task_id: TaskId) -> bytes | None:
        """Return the input of a task that may still run: not finished, or quarantined."""
        ...

    async def recover(self, *, after_order: int, limit: int) -> list[StoredTask]:
        """Return unfinished tasks by growing `order`, a page at a time; at the start of a balancer.

        An input over `INLINE_INPUT_LIMIT` is left out (`request.input` is b""): `input` reads it. A page
        may pass `limit` by tasks that share one `order`.
        """
        ...

    async def count(self) -> int:
        """Return the number of unfinished tasks."""
        ...

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` tasks finished before a moment.

        Those that ended first go first. Not those whose webhook is pending, that a key stands for, or
        that are dead letters (`balancer.store.ports_dead`).
        """
        ...

    async def ended(self) -> int:
        """Return the number of ended tasks that are no dead letters."""
        ...


Fresh = Callable[[OutboxRow], None]


def no_fresh(row: OutboxRow) -> None:
    """Leave a row to whoever reads the outbox."""
    del row


class OutboxStore(Protocol):
    """Webhooks that wait for delivery.

    Attributes:
        fresh: told of each row that was committed just now, by whoever had it committed; so the
            deliverer, who listens here, need not read back what is in memory anyway.
    """

    fresh: Fresh

    async def due(
        self,
        now: datetime,
        limit: int,
        *,
        skip: Collection[str] = (),
        busy_hosts: Collection[str] = (),
    ) -> Sequence[OutboxRow]:
        """Return rows whose try is due, oldest first, then by host; fewer than `limit` when their bodies are large.

        Args:
            now: the wall clock.
            limit: rows at most.
            skip: webhook ids that are under way already.
            busy_hosts: hosts (`shared.webhooks.host_of`) that take no more now: their rows must not
                stand in the way of others'.
        """
        ...

    async def next_due(self, after: datetime) -> datetime | None:
        """Return when the first try after a moment is due, or None when there is none."""
        ...

    def delivered(self, webhook_id: str, at: datetime, done: Done) -> None:
        """Note a delivery; the row is kept as delivered with its task."""
        ...

    def postponed(
        self, webhook_id: str, attempts: int, next_at: datetime, error: str, done: Done
    ) -> None:
        """Note a failed try that is followed by another."""
        ...

    def dead(self, webhook_id: str, attempts: int, at: datetime, error: str, done: Done) -> None:
        """Note that no try follows; the row stays visible and can be replayed."""
        ...

    async def pending_bytes(self) -> int:
        """Return the bytes of bodies that wait."""
        ...


class OrderStore(Protocol):
    """What operators ordered: the desired state of workers."""

    async def maintenance(self) -> frozenset[str]:
        """Return ids of the workers ordered into maintenance."""
        ...

    async def set_maintenance(self, worker: str, on: bool) -> None:
        """Keep an order; durable when this returns."""
        ...


class Store(Protocol):
    """An open store."""

    tasks: TaskStore
    outbox: OutboxStore
    orders: OrderStore
    once: OnceStore
    dead: DeadStore

    @property
    def healthy(self) -> bool:
        """Tell whether the last commit went through."""
        ...

    async def close(self) -> None:
        """Commit what is buffered, release the lock, close."""
        ...
