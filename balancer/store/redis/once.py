"""Keys of tasks, in Redis: the `OnceStore` of the shared store.

A key is kept in the part of its task, so that both are accepted by one script. The same request has the
same pool, and so comes to the same part, where the key is found at once and for sure. Another request
under that key may belong to another part: it is found by looking into all of them before.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

from balancer.store.ports_once import OnceKey
from balancer.store.redis.rows import micros, moment
from balancer.store.redis.wire import Script
from shared.ids import TaskId

if TYPE_CHECKING:
    from balancer.store.redis.reader import Reader
    from balancer.store.redis.writer import Value, Writer

_CLAIMS = Script("claims")


class RedisOnce:
    """Keys in the parts of a store."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def find(self, owner: str, key: str, now: datetime) -> OnceKey | None:
        """Return a key that has not expired."""
        answers = await self._reader.everywhere(_CLAIMS, claim_name(owner, key))
        held = [cast("tuple[bytes, bytes, bytes]", each) for each in answers.values() if each]
        for fingerprint, task_id, expires in sorted(held, key=lambda each: int(each[2])):
            if moment(expires) > now:
                return OnceKey(
                    owner=owner, key=key, fingerprint=fingerprint.decode(),
                    task_id=TaskId(task_id.decode()), expires_at=moment(expires),
                )  # fmt: skip
        return None

    async def prune(self, now: datetime, keep: int, limit: int) -> int:
        """Forget keys that have expired, and those past the number that is kept."""
        excess = (await self._reader.totals()).named - keep
        oldest = await self._reader.range("onces", "-inf", "+inf", limit)
        limit_us = micros(now)
        gone = [i for at, (us, i) in enumerate(oldest[:limit]) if at < excess or us <= limit_us]
        for task_id in gone[:-1]:
            self._writer.put("unclaim", task_id)
        if gone:  # the last: they are applied in order
            await self._writer.write("unclaim", gone[-1])
        return len(gone)


def claim_name(owner: str, key: str) -> str:
    """Return what a key is called in its part; no two owners can have the same."""
    return f"{len(owner)}:{owner}{key}"


def claim_values(once: OnceKey | None, created_at: datetime) -> tuple[Value, ...]:
    """Return what `accept` needs of a key."""
    if once is None:
        return ("", "", "", "")
    name = claim_name(once.owner, once.key)
    return (name, once.fingerprint, str(micros(once.expires_at)), str(micros(created_at)))
