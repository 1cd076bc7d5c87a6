"""The reading side of the database: one connection in one thread, beside the writer.

A write-ahead log lets readers see the last commit while the next one is written, so a long listing
delays no accept.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from balancer.store.sqlite.connection import Connect, set_reading
from shared.errors import Unavailable

T = TypeVar("T")

Query = Callable[[sqlite3.Connection], T]


class Reader:
    """Runs queries, each on one snapshot of the database.

    Args:
        path: the database; it exists.
        connect: opens the connection, and another after an error.
    """

    def __init__(self, path: str, *, connect: Connect) -> None:
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None  # touched in the thread only
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")

    async def run(self, query: Query[T]) -> T:
        """Return what a query returns.

        Raises:
            Unavailable: the database could not be read.
        """
        if self._closed:
            raise Unavailable("Store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, query)

    async def close(self) -> None:
        """Let the queries end and close the connection."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
            self._thread.shutdown(wait=False)

    def _run(self, query: Query[T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect(self._path)
                set_reading(self._connection)
            self._connection.execute("BEGIN")
            try:
                return query(self._connection)
            finally:
                self._connection.execute("ROLLBACK")  # there is nothing to commit
        except sqlite3.Error as exc:
            self._drop()
            raise Unavailable(f"Store cannot be read: {exc}") from exc

    def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
