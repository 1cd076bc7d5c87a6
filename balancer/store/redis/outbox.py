"""Webhooks that wait for delivery, in Redis: the `OutboxStore` of the shared store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from balancer.store.ports import OUTBOX_PAGE_BYTES, Done, Fresh, OutboxRow, no_fresh
from balancer.store.redis.parts import by_part
from balancer.store.redis.rows import micros, moment, outbox_row_of
from balancer.store.redis.wire import Script

if TYPE_CHECKING:
    from balancer.store.redis.reader import Reader, Row
    from balancer.store.redis.writer import Writer

_DUE, _HOOKS = Script("due"), Script("hooks")


class RedisOutbox:
    """Webhooks in the parts of a store."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self.fresh: Fresh = no_fresh
        self._writer = writer
        self._reader = reader

    async def due(
        self,
        now: datetime,
        limit: int,
        *,
        skip: Collection[str] = (),
        busy_hosts: Collection[str] = (),
    ) -> Sequence[OutboxRow]:
        """Return rows whose try is due, oldest first."""
        answers = await self._reader.everywhere(
            _DUE, micros(now), limit, len(busy_hosts), *busy_hosts, *skip
        )
        found: list[tuple[int, str, int]] = []
        for answer in answers.values():
            flat = [each.decode() for each in cast("list[bytes]", answer)]
            found += (
                (int(float(next_at)), member, int(size))
                for member, next_at, size in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            )
        ids = _page(sorted(found)[:limit])
        rows = await self._rows(ids)
        return [outbox_row_of(i, rows[i]) for i in ids if i in rows]

    async def next_due(self, after: datetime) -> datetime | None:
        """Return when the first try after a moment is due."""
        found = await self._reader.range("due", f"({micros(after)}", "+inf", 1)
        return moment(found[0][0]) if found else None

    def delivered(self, webhook_id: str, at: datetime, done: Done) -> None:
        """Note a delivery."""
        self._writer.put("delivered", webhook_id, micros(at), done=done)

    def postponed(
        self, webhook_id: str, attempts: int, next_at: datetime, error: str, done: Done
    ) -> None:
        """Note a failed try that is followed by another."""
        self._writer.put("postponed", webhook_id, attempts, micros(next_at), error, done=done)

    def dead(self, webhook_id: str, attempts: int, at: datetime, error: str, done: Done) -> None:
        """Note that no try follows."""
        self._writer.put("dead", webhook_id, attempts, micros(at), error, done=done)

    async def pending_bytes(self) -> int:
        """Return the bytes of bodies that wait."""
        return (await self._reader.totals()).pending_bytes

    async def _rows(self, ids: Sequence[str]) -> dict[str, Row]:
        asked = by_part(ids)
        answers = await self._reader.run(_HOOKS, dict(asked))
        found: dict[str, Row] = {}
        for part, some in asked.items():
            rows = cast("list[Row | None]", answers[part])
            found.update((i, row) for i, row in zip(some, rows, strict=True) if row is not None)
        return found


def _page(found: Sequence[tuple[int, str, int]]) -> list[str]:
    """Return the ids of a page that is bounded in bytes, and has one row at least."""
    ids: list[str] = []
    bytes_so_far = 0
    for _, member, size in found:
        bytes_so_far += size
        if ids and bytes_so_far > OUTBOX_PAGE_BYTES:
            break
        ids.append(member.split("\n", 2)[2])
    return ids
