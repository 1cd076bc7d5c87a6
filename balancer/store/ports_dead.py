"""Dead letters: what failed for good, kept with all that is needed to run or send it again.

A letter is made in the transaction that ends its task or gives up its webhook, and is gone with the
one that replays, releases or purges it. So it is replayed once, however often that is asked for. While
a letter is there, its task is kept, whatever RESULT_RETENTION says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from shared.dead_letter import DeadKind
from shared.ids import TaskId
from shared.task import TaskRecord

if TYPE_CHECKING:
    from balancer.store.ports import OutboxRow, StoredTask

WEBHOOK_CODE = "webhook_failed"  # of every letter that is a webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadWebhook:
    """The webhook of a letter.

    Attributes:
        host: host and port it was sent to; the rest of its URL may hold a secret.
        attempts: tries made.
        error: why the last one failed.
        outcome: what it was to tell.
    """

    host: str
    attempts: int
    error: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A letter.

    Attributes:
        letter_id: the task's id, or the webhook's.
        kind: what it is.
        died_at: when it was given up.
        code: why.
        task: whose it is; in lists without its result.
        webhook: of the kind webhook.
    """

    letter_id: str
    kind: DeadKind
    died_at: datetime
    code: str
    task: TaskRecord
    webhook: DeadWebhook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which letters; what is None or empty matches all.

    Attributes:
        letter_id: this one.
        kinds: one of these.
        function, group, code: of these.
        since: given up at this moment or later.
        before: given up earlier than this.
    """

    letter_id: str | None = None
    kinds: tuple[DeadKind, ...] = ()
    function: str | None = None
    group: str | None = None
    code: str | None = None
    since: datetime | None = None
    before: datetime | None = None


class DeadCounts(NamedTuple):
    """Letters by kind."""

    task: int = 0
    webhook: int = 0
    quarantine: int = 0

    @property
    def total(self) -> int:
        """Return the number of all."""
        return sum(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a task that is replayed gets anew.

    Attributes:
        task_id: its id, which no task has; it ends as the old one's, if that has an ending (`.3f`).
        order: its place among equal priorities.
        at: when it was accepted; its deadline counts from here.
    """

    task_id: TaskId
    order: int
    at: datetime


class DeadStore(Protocol):
    """Letters. What changes them is durable when it returns, and is told by its result."""

    async def list(
        self, chosen: DeadFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[DeadLetter], str | None]:
        """Return a page, newest first, and the cursor of the next one.

        Raises:
            CallerError: the cursor did not come from here.
        """
        ...

    async def get(self, letter_id: str) -> DeadLetter | None:
        """Return a letter with its task's result, or None."""
        ...

    async def counts(self) -> DeadCounts:
        """Return how many there are."""
        ...

    async def replay_task(self, letter_id: str, renewal: Renewal) -> StoredTask | None:
        """Put a new task with the same request in the place of a letter of kind task; None: it is gone.

        The new task is returned as `TaskStore.recover` does; its record names the old one (`replay_of`).
        """
        ...

    async def replay_webhook(self, letter_id: str, at: datetime) -> OutboxRow | None:
        """Make a webhook pending again under its id, all tries before it, due at once; None: it is gone."""
        ...

    async def release(self, task_id: TaskId, at: datetime) -> StoredTask | None:
        """Put a quarantined task back among the unfinished; None when it is not quarantined.

        It keeps its id, its place and what it has spent; its deaths are forgotten, and its deadline
        counts from `at`: the time in quarantine was not its own.
        """
        ...

    async def purge(self, chosen: DeadFilter, limit: int) -> DeadCounts:
        """Forget up to `limit` letters, oldest first, and return how many of each kind that were.

        Inputs and bodies go with them; a quarantined task is given up for good: it has failed.
        """
        ...
