"""Dead letters in SQLite: the `DeadStore` of the embedded store."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import TypeVar

from balancer.store.cursor import decode_cursor, encode_cursor
from balancer.store.ports import OutboxRow, StoredTask
from balancer.store.ports_dead import DeadCounts, DeadFilter, DeadLetter, DeadWebhook, Renewal
from balancer.store.sqlite import dead_writes
from balancer.store.sqlite.reader import Reader
from balancer.store.sqlite.rows import micros, moment
from balancer.store.sqlite.tasks import shown_of
from balancer.store.sqlite.writer import Handler, Writer
from shared.dead_letter import DeadKind
from shared.ids import TaskId

T = TypeVar("T")

_WEBHOOK = "SELECT host, attempts, error, outcome FROM outbox WHERE webhook_id = ?"
_COUNTS = "SELECT kind, count(*) AS number FROM dead GROUP BY kind"


class SqliteDead:
    """Letters in the table `dead`."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def list(
        self, chosen: DeadFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[DeadLetter], str | None]:
        """Return a page, newest first, and the cursor of the next one."""
        below = decode_cursor(cursor)
        condition, values = dead_writes.where(chosen)
        if below is not None:
            condition += " AND seq < ?" if condition else " WHERE seq < ?"
            values.append(below)

        def query(connection: sqlite3.Connection) -> tuple[list[DeadLetter], str | None]:
            sql = f"SELECT * FROM dead{condition} ORDER BY seq DESC LIMIT ?"
            rows = connection.execute(sql, (*values, limit + 1)).fetchall()
            page = rows[:limit]
            following = encode_cursor(page[-1]["seq"]) if len(rows) > limit and page else None
            return [_letter_of(connection, row, whole=False) for row in page], following

        return await self._reader.run(query)

    async def get(self, letter_id: str) -> DeadLetter | None:
        """Return a letter with its task's result, or None."""

        def query(connection: sqlite3.Connection) -> DeadLetter | None:
            found = connection.execute("SELECT * FROM dead WHERE letter_id = ?", (letter_id,))
            row = found.fetchone()
            return None if row is None else _letter_of(connection, row, whole=True)

        return await self._reader.run(query)

    async def counts(self) -> DeadCounts:
        """Return how many there are."""

        def query(connection: sqlite3.Connection) -> DeadCounts:
            return DeadCounts(**{row["kind"]: row["number"] for row in connection.execute(_COUNTS)})

        return await self._reader.run(query)

    async def replay_task(self, letter_id: str, renewal: Renewal) -> StoredTask | None:
        """Put a new task with the same request in the place of a letter."""
        told: list[StoredTask | None] = []
        return await self._written(dead_writes.replay_task, letter_id, renewal, told)

    async def replay_webhook(self, letter_id: str, at: datetime) -> OutboxRow | None:
        """Make a webhook pending again under its id."""
        told: list[OutboxRow | None] = []
        return await self._written(dead_writes.replay_webhook, letter_id, micros(at), told)

    async def release(self, task_id: TaskId, at: datetime) -> StoredTask | None:
        """Put a quarantined task back among the unfinished."""
        told: list[StoredTask | None] = []
        return await self._written(dead_writes.release, task_id, micros(at), told)

    async def purge(self, chosen: DeadFilter, limit: int) -> DeadCounts:
        """Forget letters, oldest first."""
        told: list[DeadCounts] = []
        return await self._written(dead_writes.purge, chosen, limit, told)

    async def _written(self, handler: Handler, what: object, how: object, told: list[T]) -> T:
        await self._writer.write(handler, (what, how, told))
        return told[-1]


def _letter_of(connection: sqlite3.Connection, row: sqlite3.Row, *, whole: bool) -> DeadLetter:
    kind = DeadKind(row["kind"])
    webhook: DeadWebhook | None = None
    if kind is DeadKind.WEBHOOK:
        webhook = DeadWebhook(**dict(connection.execute(_WEBHOOK, (row["letter_id"],)).fetchone()))
    return DeadLetter(
        letter_id=row["letter_id"],
        kind=kind,
        died_at=moment(row["died_at"]),
        code=row["code"],
        task=shown_of(connection, row["task"], whole=whole),
        webhook=webhook,
    )
