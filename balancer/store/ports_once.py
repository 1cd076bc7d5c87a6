"""Tasks that their callers named by an `Idempotency-Key`: the same key is the same task.

A key is claimed by the task that is accepted with it, in one atomic write (`TaskStore.accept` of a
`StoredTask` that has `once`), and is forgotten when it expires.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.errors import Unavailable
from shared.ids import TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceKey:
    """A key and the task that it stands for.

    Attributes:
        owner: whose key it is; two owners may have the same one.
        key: what the caller named the task.
        fingerprint: of what was asked for; another one under the same key is a conflict.
        task_id: the task.
        expires_at: from then on the key is free.
    """

    owner: str
    key: str
    fingerprint: str
    task_id: TaskId
    expires_at: datetime


class KeyTaken(Unavailable):
    """The key stands for another task, so this one was not accepted."""

    code = "idempotency_conflict"


class OnceStore(Protocol):
    """Keys of tasks."""

    async def find(self, owner: str, key: str, now: datetime) -> OnceKey | None:
        """Return a key that has not expired."""
        ...

    async def prune(self, now: datetime, keep: int, limit: int) -> int:
        """Forget up to `limit` keys that have expired, or are the next to, while more than `keep` are left."""
        ...
