"""Webhooks that wait for delivery, in SQLite: the `OutboxStore` of the embedded store."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime

from balancer.store.ports import OUTBOX_PAGE_BYTES, Done, Fresh, OutboxRow, no_fresh
from balancer.store.ports_dead import WEBHOOK_CODE
from balancer.store.sqlite.many_rows import ManyRows
from balancer.store.sqlite.reader import Reader
from balancer.store.sqlite.rows import micros, moment, outbox_row_of, to_json
from balancer.store.sqlite.writer import Values, Writer
from shared.dead_letter import DeadKind

# In the order of its index, so that rows of busy hosts are passed over without being read.
# The hosts and ids travel as JSON arrays: one statement for any number of them.
_DUE = (
    "SELECT o.*, t.task_id FROM outbox AS o JOIN tasks AS t ON t.seq = o.task"
    " WHERE o.status = 'pending' AND o.next_at <= ?"
    " AND o.host NOT IN (SELECT value FROM json_each(?))"
    " AND o.webhook_id NOT IN (SELECT value FROM json_each(?))"
    " ORDER BY o.next_at, o.host, o.seq LIMIT ?"
)
_NEXT = "SELECT min(next_at) FROM outbox WHERE status = 'pending' AND next_at > ?"
_BYTES = "SELECT coalesce(sum(size), 0) FROM outbox WHERE status = 'pending'"


class SqliteOutbox:
    """Webhooks in the table `outbox`."""

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
        values = (
            micros(now),
            to_json(list(busy_hosts)).decode(),
            to_json(list(skip)).decode(),
            limit,
        )

        def query(connection: sqlite3.Connection) -> list[OutboxRow]:
            page: list[OutboxRow] = []
            size = 0
            for row in connection.execute(_DUE, values):
                size += row["size"]
                if page and size > OUTBOX_PAGE_BYTES:
                    break
                page.append(outbox_row_of(row))
            return page

        return await self._reader.run(query)

    async def next_due(self, after: datetime) -> datetime | None:
        """Return when the first try after a moment is due."""

        def query(connection: sqlite3.Connection) -> int | None:
            return connection.execute(_NEXT, (micros(after),)).fetchone()[0]

        found = await self._reader.run(query)
        return None if found is None else moment(found)

    def delivered(self, webhook_id: str, at: datetime, done: Done) -> None:
        """Note a delivery."""
        self._writer.put(_delivered, (webhook_id, micros(at)), keys=(webhook_id,), done=done)

    def postponed(
        self, webhook_id: str, attempts: int, next_at: datetime, error: str, done: Done
    ) -> None:
        """Note a failed try that is followed by another."""
        values = (attempts, micros(next_at), error, webhook_id)
        self._writer.put(_postponed, values, keys=(webhook_id,), done=done)

    def dead(self, webhook_id: str, attempts: int, at: datetime, error: str, done: Done) -> None:
        """Note that no try follows."""
        values = (attempts, micros(at), error, webhook_id)
        self._writer.put(_dead, values, keys=(webhook_id,), done=done)

    async def pending_bytes(self) -> int:
        """Return the bytes of bodies that wait."""

        def query(connection: sqlite3.Connection) -> int:
            return connection.execute(_BYTES).fetchone()[0]

        return await self._reader.run(query)


# The bodies of delivered rows are not needed any more: the task has the result.
_DELIVERED = ManyRows(
    "UPDATE outbox SET status = 'delivered', attempts = attempts + 1, next_at = NULL,"
    " settled_at = v.column2, error = '', size = 0, body = x'' FROM {rows} AS v"
    " WHERE outbox.webhook_id = v.column1 AND outbox.status = 'pending'",
    2,
)


def _delivered(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Close delivered rows; each is (webhook id, moment)."""
    _DELIVERED.run(connection, writes)


def _postponed(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    connection.executemany(
        "UPDATE outbox SET attempts = ?, next_at = ?, error = ?"
        " WHERE webhook_id = ? AND status = 'pending'",
        writes,
    )


_LETTER = (
    "INSERT INTO dead (letter_id, kind, task, died_at, grp, function, code)"
    " SELECT o.webhook_id, ?, o.task, ?, t.grp, t.function, ?"
    " FROM outbox AS o JOIN tasks AS t ON t.seq = o.task"
    " WHERE o.webhook_id = ? AND o.status = 'pending' ON CONFLICT (letter_id) DO NOTHING"
)


def _dead(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Give rows up; the body stays, so that an operator can replay them."""
    connection.executemany(
        _LETTER,
        [(DeadKind.WEBHOOK.value, at, WEBHOOK_CODE, webhook_id) for _, at, _, webhook_id in writes],
    )
    connection.executemany(
        "UPDATE outbox SET status = 'dead', attempts = ?, next_at = NULL, settled_at = ?, error = ?"
        " WHERE webhook_id = ? AND status = 'pending'",
        writes,
    )
