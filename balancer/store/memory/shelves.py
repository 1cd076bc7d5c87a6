"""What the memory store keeps, by place of acceptance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.store.ports import OutboxRow, StoredTask
    from balancer.store.ports_once import OnceKey
    from shared.dead_letter import DeadKind
    from shared.ids import TaskId


@dataclass(slots=True)
class KeptTask:
    """A task; `stored` is replaced as it changes.

    Attributes:
        place: 1, 2, 3 … in the order of acceptance.
        stored: what was accepted, with the record as it is now.
    """

    place: int
    stored: StoredTask

    @property
    def open(self) -> bool:
        """Tell whether the task has not finished."""
        return self.stored.record.finished_at is None


@dataclass(slots=True)
class KeptWebhook:
    """A webhook and how far it is: pending, delivered or dead."""

    row: OutboxRow
    status: str = "pending"
    settled_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLetter:
    """A dead letter; `place` grows with each one made."""

    place: int
    letter_id: str
    kind: DeadKind
    task_id: TaskId
    died_at: datetime
    code: str


class Shelves:
    """Everything that is kept; dictionaries are in the order of their rows."""

    def __init__(self) -> None:
        self.tasks: dict[TaskId, KeptTask] = {}
        self.webhooks: dict[str, KeptWebhook] = {}
        self.maintenance: set[str] = set()
        self.once: dict[tuple[str, str], OnceKey] = {}  # by owner and key
        self.letters: dict[str, KeptLetter] = {}
        self.places = 0
        self.letter_places = 0

    def bury(
        self, letter_id: str, kind: DeadKind, task_id: TaskId, died_at: datetime, code: str
    ) -> None:
        """Make a dead letter."""
        self.letter_places += 1
        self.letters[letter_id] = KeptLetter(
            place=self.letter_places, letter_id=letter_id, kind=kind, task_id=task_id,
            died_at=died_at, code=code,
        )  # fmt: skip

    def webhook_of(self, task_id: TaskId) -> KeptWebhook | None:
        """Return the latest webhook of a task."""
        found = [kept for kept in self.webhooks.values() if kept.row.task_id == task_id]
        return found[-1] if found else None
