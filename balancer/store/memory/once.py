"""Keys of tasks, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.store.memory.desk import Desk
    from balancer.store.ports_once import OnceKey


class MemoryOnce:
    """Keys on the shelves of a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._keys = desk.shelves.once

    async def find(self, owner: str, key: str, now: datetime) -> OnceKey | None:
        """Return a key that has not expired."""
        self._desk.check_reading()
        found = self._keys.get((owner, key))
        return None if found is None or found.expires_at <= now else found

    async def prune(self, now: datetime, keep: int, limit: int) -> int:
        """Forget keys that have expired, and those past the number that is kept."""
        self._desk.check_writing()
        by_age = sorted(self._keys.values(), key=lambda each: each.expires_at)
        excess = len(by_age) - keep
        gone = [each for at, each in enumerate(by_age) if at < excess or each.expires_at <= now]
        for each in gone[:limit]:
            del self._keys[each.owner, each.key]
        return len(gone[:limit])
