"""What operators ordered, in SQLite: the `OrderStore` of the embedded store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from balancer.store.sqlite.reader import Reader
from balancer.store.sqlite.writer import Values, Writer


class SqliteOrders:
    """Orders in the table `maintenance`."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def maintenance(self) -> frozenset[str]:
        """Return ids of the workers ordered into maintenance."""

        def query(connection: sqlite3.Connection) -> frozenset[str]:
            return frozenset(
                row["worker"] for row in connection.execute("SELECT worker FROM maintenance")
            )

        return await self._reader.run(query)

    async def set_maintenance(self, worker: str, on: bool) -> None:
        """Keep an order; durable when this returns."""
        await self._writer.write(_enter if on else _leave, (worker,))


def _enter(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    connection.executemany("INSERT OR IGNORE INTO maintenance (worker) VALUES (?)", writes)


def _leave(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    connection.executemany("DELETE FROM maintenance WHERE worker = ?", writes)
