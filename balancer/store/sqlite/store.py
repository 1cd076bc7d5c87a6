"""The embedded store: one file, one owner, one writer thread and one reader thread."""

from __future__ import annotations

import asyncio
import os
import sqlite3

from balancer.store.ports import OrderStore, OutboxStore, TaskStore
from balancer.store.ports_dead import DeadStore
from balancer.store.ports_once import OnceStore
from balancer.store.sqlite.connection import Connect, connect, set_writing
from balancer.store.sqlite.dead import SqliteDead
from balancer.store.sqlite.file_lock import FileLock
from balancer.store.sqlite.once import SqliteOnce
from balancer.store.sqlite.orders import SqliteOrders
from balancer.store.sqlite.outbox import SqliteOutbox
from balancer.store.sqlite.reader import Reader
from balancer.store.sqlite.schema import migrate
from balancer.store.sqlite.tasks import SqliteTasks
from balancer.store.sqlite.writer import Writer
from shared.clock import Clock
from shared.errors import ConfigError


class SqliteStore:
    """An open SQLite database; made by `open`."""

    tasks: TaskStore
    outbox: OutboxStore
    orders: OrderStore
    once: OnceStore
    dead: DeadStore

    def __init__(self, lock: FileLock, writer: Writer, reader: Reader) -> None:
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self.tasks = self._tasks = SqliteTasks(writer, reader)
        self.outbox = SqliteOutbox(writer, reader)
        self.orders = SqliteOrders(writer, reader)
        self.once = SqliteOnce(writer, reader)
        self.dead = SqliteDead(writer, reader)

    @classmethod
    async def open(cls, path: str, *, clock: Clock, connect: Connect = connect) -> SqliteStore:
        """Lock, open and migrate a database; make it when it is not there.

        Args:
            path: of the file; its folder must exist.
            clock: the machine's.
            connect: makes connections; tests give one that breaks.

        Raises:
            ConfigError: another balancer has it, it is no database of ours, or it cannot be opened.
        """
        loop = asyncio.get_running_loop()
        lock = FileLock(path)
        lock.acquire()
        try:
            connection = await loop.run_in_executor(None, _prepare, path, connect)
        except BaseException:
            lock.release()
            raise
        writer = Writer(path, connection, loop=loop, clock=clock, connect=connect)
        return cls(lock, writer, Reader(path, connect=connect))

    @property
    def healthy(self) -> bool:
        """Tell whether the last commit went through."""
        return self._writer.healthy

    async def close(self) -> None:
        """Commit what is buffered, release the lock, close."""
        self._tasks.note_starts()
        await self._writer.close()
        await self._reader.close()
        self._lock.release()


def _prepare(path: str, connect: Connect) -> sqlite3.Connection:
    try:
        # Inputs and results are nobody else's business; the log files take the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = connect(path)
        try:
            migrate(connection, path)  # first: another program's file is left as it was
            set_writing(connection, path)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as exc:
        raise ConfigError(f"Store {path} cannot be opened: {exc}") from exc
    return connection
