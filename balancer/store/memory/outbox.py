"""Webhooks that wait for delivery, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from balancer.store.ports import OUTBOX_PAGE_BYTES, Done, Fresh, OutboxRow, no_fresh
from balancer.store.ports_dead import WEBHOOK_CODE
from shared.dead_letter import DeadKind

if TYPE_CHECKING:
    from balancer.store.memory.desk import Desk
    from balancer.store.memory.shelves import KeptWebhook


class MemoryOutbox:
    """Webhooks on the shelves of a desk."""

    def __init__(self, desk: Desk) -> None:
        self.fresh: Fresh = no_fresh
        self._desk = desk
        self._shelves = desk.shelves

    async def due(
        self,
        now: datetime,
        limit: int,
        *,
        skip: Collection[str] = (),
        busy_hosts: Collection[str] = (),
    ) -> Sequence[OutboxRow]:
        """Return rows whose try is due, oldest first."""
        self._desk.check_reading()
        found = [
            kept.row
            for kept in self._pending()
            if kept.row.next_at <= now
            and kept.row.webhook_id not in skip
            and kept.row.host not in busy_hosts
        ]
        page: list[OutboxRow] = []
        size = 0
        for row in sorted(found, key=lambda row: (row.next_at, row.host))[:limit]:
            size += len(row.body)
            if page and size > OUTBOX_PAGE_BYTES:
                break
            page.append(row)
        return page

    async def next_due(self, after: datetime) -> datetime | None:
        """Return when the first try after a moment is due."""
        self._desk.check_reading()
        return min(
            (kept.row.next_at for kept in self._pending() if kept.row.next_at > after), default=None
        )

    def delivered(self, webhook_id: str, at: datetime, done: Done) -> None:
        """Note a delivery."""

        def change(kept: KeptWebhook) -> None:
            kept.status, kept.settled_at, kept.error = "delivered", at, ""
            kept.row = replace(kept.row, attempts=kept.row.attempts + 1, body=b"")

        self._change(webhook_id, change, done)

    def postponed(
        self, webhook_id: str, attempts: int, next_at: datetime, error: str, done: Done
    ) -> None:
        """Note a failed try that is followed by another."""

        def change(kept: KeptWebhook) -> None:
            kept.error = error
            kept.row = replace(kept.row, attempts=attempts, next_at=next_at)

        self._change(webhook_id, change, done)

    def dead(self, webhook_id: str, attempts: int, at: datetime, error: str, done: Done) -> None:
        """Note that no try follows."""

        def change(kept: KeptWebhook) -> None:
            kept.status, kept.settled_at, kept.error = "dead", at, error
            kept.row = replace(kept.row, attempts=attempts)
            self._shelves.bury(webhook_id, DeadKind.WEBHOOK, kept.row.task_id, at, WEBHOOK_CODE)

        self._change(webhook_id, change, done)

    async def pending_bytes(self) -> int:
        """Return the bytes of bodies that wait."""
        self._desk.check_reading()
        return sum(len(kept.row.body) for kept in self._pending())

    def _pending(self) -> list[KeptWebhook]:
        return [kept for kept in self._shelves.webhooks.values() if kept.status == "pending"]

    def _change(self, webhook_id: str, change: Callable[[KeptWebhook], None], done: Done) -> None:
        def apply() -> None:
            kept = self._shelves.webhooks.get(webhook_id)
            if kept is not None and kept.status == "pending":
                change(kept)

        self._desk.write(apply, done)
