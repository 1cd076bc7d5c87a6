"""Every implementation of the store ports, as something that can be opened again and can break."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Protocol

from balancer.store.memory import MemoryStore, Shelves
from balancer.store.ports import Store
from balancer.store.redis import RedisStore
from balancer.store.sqlite import SqliteStore
from balancer.store.sqlite.connection import connect
from shared.system import SystemClock, SystemIds
from tests.fakes.raw_redis import raw_redis
from tests.fakes.redis_audit import RedisAudit


class StoreOpener(Protocol):
    """Opens one store, again and again."""

    async def open(self) -> Store:
        """Return the store with what the last one kept."""
        ...

    def begin_outage(self) -> None:
        """Let writes fail from now on."""
        ...

    def end_outage(self) -> None:
        """Let writes through again."""
        ...


class MemoryOpener:
    """The memory store over shelves that outlive it."""

    def __init__(self) -> None:
        self.shelves = Shelves()
        self._store: MemoryStore | None = None

    async def open(self) -> Store:
        """Return another store over the same shelves."""
        self._store = MemoryStore(asyncio.get_running_loop().call_soon, self.shelves)
        return self._store

    def begin_outage(self) -> None:
        """Let writes fail from now on."""
        assert self._store is not None
        self._store.fail()

    def end_outage(self) -> None:
        """Let writes through again."""
        assert self._store is not None
        self._store.heal()


class BreakableDisk:
    """Makes connections that fail the way a broken disk does: at the commit, when the log is synced."""

    def __init__(self) -> None:
        self.broken = False
        self.opened = 0

    def connect(self, path: str) -> sqlite3.Connection:
        """Open a connection that looks at `broken` whenever it commits."""
        self.opened += 1
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
                if disk.broken and sql == "COMMIT" and self.in_transaction:
                    raise sqlite3.OperationalError("disk I/O error")
                return super().execute(sql, parameters)  # pyright: ignore[reportArgumentType] passed on as it came

        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Connection
        )


class SqliteOpener:
    """The SQLite store over one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.disk = BreakableDisk()

    async def open(self) -> Store:
        """Open the file."""
        return await SqliteStore.open(
            str(self.path), clock=SystemClock(), connect=self.disk.connect
        )

    def begin_outage(self) -> None:
        """Let commits fail from now on."""
        self.disk.broken = True

    def end_outage(self) -> None:
        """Let commits through again; the store finds out by itself."""
        self.disk.broken = False


class RedisOpener:
    """The Redis store over one namespace of a server that a test session shares.

    Args:
        url: of the server.
        namespace: of the test.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self.url = f"{url}?namespace={namespace}"
        self.audit = RedisAudit([url], namespace)
        self._server = raw_redis(url)

    async def open(self) -> Store:
        """Open the namespace."""
        return await RedisStore.open(self.url, boot=SystemIds().boot, clock=SystemClock())

    def begin_outage(self) -> None:
        """Let writes fail from now on, as they do while a replica is missed."""
        self._server.execute_command("CONFIG", "SET", "min-replicas-to-write", 1)

    def end_outage(self) -> None:
        """Let writes through again; the store finds out by itself."""
        self._server.execute_command("CONFIG", "SET", "min-replicas-to-write", 0)

    def close(self) -> None:
        """Check what is left, and remove it."""
        self.end_outage()
        try:
            self.audit.check()
        finally:
            self.audit.remove()
            self._server.close()


class SmallDisk:
    """Makes connections to databases that cannot grow past `pages`."""

    def __init__(self, pages: int) -> None:
        self.pages = pages

    def connect(self, path: str) -> sqlite3.Connection:
        """Open a connection with the limit of the moment."""
        connection = connect(path)
        connection.execute(f"PRAGMA max_page_count = {self.pages}")
        return connection
