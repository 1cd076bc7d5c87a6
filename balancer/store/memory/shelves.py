"""What the memory store keeps, by place of acceptance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.store.ports import OutboxRow, StoredTask
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


class Shelves:
    """Everything that is kept; dictionaries are in the order of their rows."""

    def __init__(self) -> None:
        self.tasks: dict[TaskId, KeptTask] = {}
        self.webhooks: dict[str, KeptWebhook] = {}
        self.maintenance: set[str] = set()
        self.places = 0

    def webhook_of(self, task_id: TaskId) -> KeptWebhook | None:
        """Return the latest webhook of a task."""
        found = [kept for kept in self.webhooks.values() if kept.row.task_id == task_id]
        return found[-1] if found else None
