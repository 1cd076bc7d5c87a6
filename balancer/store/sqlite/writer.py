"""The one writer of the database: a thread that commits what is buffered, many writes a transaction.

While one transaction is being synced to disk the next writes gather, so that under load many accepted
tasks share one fsync, and a lone write waits for nobody (group commit). Writes are applied in the order
of the calls, but that within one transaction those of one kind are brought together, so that they need
fewer statements, where no write of the same key stands between them.

A commit that failed is an outage: the batch and all that is buffered behind it fail, because later
writes may rest on it, and what comes meanwhile fails at once. After a failed fsync the kernel may have
dropped the pages, so the connection is thrown away; the writer opens another and first moves the
write-ahead log into the database and syncs it. Only then the store is healthy again.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from balancer.store.sqlite.connection import Connect, set_writing
from shared.errors import Unavailable
from shared.log import Log

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from balancer.store.ports import Done
    from shared.clock import Clock

Values = tuple[object, ...]
Handler = Callable[[sqlite3.Connection, Sequence[Values]], None]  # applies some writes of one kind

MAX_BATCH = 1000  # writes a transaction: past it a longer batch saves no more syncs worth the wait
MAX_BATCH_BYTES = 16 * 1024 * 1024  # about what a disk takes in the time of a few syncs
MAX_BUFFERED_BYTES = 256 * 1024 * 1024  # a disk that hangs must not fill the memory
WRITE_OVERHEAD = 1024  # what a buffered write takes beside its bodies
FIRST_REOPEN_S = 0.05
LONGEST_REOPEN_S = 2.0
PROBE_ROOM = 64 * 1024  # a reopened store has room for at least this

_log = Log("store")


class Write:
    """One buffered write."""

    __slots__ = ("done", "handler", "keys", "size", "values")

    def __init__(
        self, handler: Handler, values: Values, keys: tuple[str, ...], size: int, done: Done | None
    ) -> None:
        self.handler = handler
        self.values = values
        self.keys = keys
        self.size = size
        self.done = done


class Writer:
    """Buffers writes, commits them in groups, and reports on the event loop.

    Args:
        path: the database.
        connection: open, set for writing and migrated; the writer owns it from now on.
        loop: where `done` is called.
        clock: for the waits of an outage.
        connect: opens another connection after an outage.
    """

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        *,
        loop: AbstractEventLoop,
        clock: Clock,
        connect: Connect,
    ) -> None:
        self._path = path
        self._connection = connection
        self._loop = loop
        self._clock = clock
        self._connect = connect
        self._queue: SimpleQueue[list[Write] | None] = SimpleQueue()
        self._gathered: list[Write] = []  # in this turn of the loop
        self._taken: deque[Write] = deque()  # read from the queue; touched in the thread only
        self._buffered = 0  # bytes; touched on the loop only
        self._closed = False  # no new writes; touched on the loop only
        self._stopping = False  # the end was read from the queue; touched in the thread only
        self._healthy = True
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Tell whether the last commit went through."""
        return self._healthy

    def put(
        self,
        handler: Handler,
        values: Values,
        *,
        keys: tuple[str, ...] = (),
        size: int = 0,
        done: Done | None = None,
        refusable: bool = False,
    ) -> None:
        """Buffer a write.

        Args:
            handler: applies it, together with its neighbours of the same kind.
            values: what the handler needs; must not change afterwards.
            keys: what it writes to: none of another write with one of them changes its place with this
                one. None at all: no write does.
            size: bytes of its bodies.
            done: told on the loop how it went.
            refusable: refuse it when too much is buffered (new work; the rest is bounded by what
                was accepted).
        """
        size += WRITE_OVERHEAD
        if self._closed:
            self._refuse(done, "Store is closed")
        elif refusable and self._buffered + size > MAX_BUFFERED_BYTES:
            self._refuse(done, "Store is too far behind")
        else:
            self._buffered += size
            if not self._gathered:
                # At the end of the turn, so that its writes come into one transaction: a thread that
                # is woken by the first of them would begin with that one alone.
                self._loop.call_soon(self._hand_over)
            self._gathered.append(Write(handler, values, keys, size, done))

    async def write(self, handler: Handler, values: Values) -> None:
        """Buffer a write and wait until it is durable.

        Raises:
            Unavailable: it did not go through.
        """
        settled = self._loop.create_future()

        def done(error: Unavailable | None) -> None:
            if settled.done():
                return  # the waiting task was cancelled; the write stays
            if error is None:
                settled.set_result(None)
            else:
                settled.set_exception(error)

        self.put(handler, values, done=done)
        await settled

    async def flush(self) -> None:
        """Wait until everything that was buffered before is durable.

        Raises:
            Unavailable: the store is out.
        """
        await self.write(_nothing, ())

    async def close(self) -> None:
        """Commit what is buffered and end the thread; writes after this are refused."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _hand_over(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._queue.put(gathered)

    def _refuse(self, done: Done | None, reason: str) -> None:
        if done is not None:
            self._loop.call_soon(done, Unavailable(reason))

    # ---- in the thread

    def _run(self) -> None:
        while not self._stopping:
            batch = self._next_batch(None)
            if not batch:
                continue
            try:
                refused = self._commit(batch)
            except (
                Exception
            ) as exc:  # whatever it is, the thread must live and every write be answered
                self._outage(batch, exc)
            else:
                self._healthy = True
                self._report(batch, None, refused)
        self._drop_connection()

    def _next_batch(self, wait_s: float | None) -> list[Write]:
        """Return what is buffered, within the limits of a batch; wait for the first write."""
        batch: list[Write] = []
        size = 0
        taken = self._taken
        while len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            if not taken:
                try:
                    gathered = self._queue.get(timeout=0 if batch else wait_s)
                except Empty:
                    break
                if gathered is None:
                    self._stopping = True
                    break
                taken.extend(gathered)
            write = taken.popleft()
            batch.append(write)
            size += write.size
        return batch

    def _commit(self, batch: list[Write]) -> dict[Write, Unavailable]:
        """Commit a batch and return the writes in it that are at fault themselves.

        Raises:
            sqlite3.Error: nothing of it was committed, or nobody knows.
        """
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        refused: dict[Write, Unavailable] = {}
        try:
            for handler, values in group(batch):
                handler(connection, values)
        except Exception as exc:
            if _is_outage(exc):
                raise
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            refused = self._apply_singly(batch)
        connection.execute("COMMIT")
        return refused

    def _apply_singly(self, batch: list[Write]) -> dict[Write, Unavailable]:
        """Apply each write on its own, so that one that cannot be stored takes no other along."""
        connection = self._connection
        refused: dict[Write, Unavailable] = {}
        for write in batch:
            connection.execute("SAVEPOINT one")
            try:
                write.handler(connection, [write.values])
            except Exception as exc:
                if _is_outage(exc):
                    raise
                connection.execute("ROLLBACK TO one")
                refused[write] = Unavailable(f"Store cannot hold a write: {type(exc).__name__}")
            connection.execute("RELEASE one")
        return refused

    def _outage(self, batch: list[Write], cause: Exception) -> None:
        self._healthy = False
        error = Unavailable(f"Store is unavailable: {cause}")
        _log.error(f"Store {self._path} is out: {cause}")
        while batch:
            self._report(batch, error, {})
            batch = self._next_batch(0)
        wait_s = FIRST_REOPEN_S
        while not self._stopping:
            if self._reopen():
                self._healthy = True
                _log.warning(f"Store {self._path} is back")
                return
            self._refuse_for(wait_s, error)
            wait_s = min(wait_s * 2, LONGEST_REOPEN_S)

    def _refuse_for(self, wait_s: float, error: Unavailable) -> None:
        until_s = self._clock.monotonic() + wait_s
        while not self._stopping and (left_s := until_s - self._clock.monotonic()) > 0:
            batch = self._next_batch(left_s)
            if batch:
                self._report(batch, error, {})

    def _reopen(self) -> bool:
        self._drop_connection()
        try:
            self._connection = self._connect(self._path)
            set_writing(self._connection, self._path)
            probe(self._connection)
        except Exception as exc:
            _log.debug(f"Store {self._path} is still out: {exc}")
            return False
        return True

    def _drop_connection(self) -> None:
        try:
            self._connection.close()
        except sqlite3.Error as exc:
            _log.warning(f"Store {self._path} did not close well: {exc}")

    def _report(
        self, batch: list[Write], error: Unavailable | None, refused: dict[Write, Unavailable]
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, batch, error, refused)
        except RuntimeError:
            _log.warning(f"{len(batch)} writes to {self._path} went unreported: the loop is closed")

    # ---- on the loop

    def _deliver(
        self, batch: list[Write], error: Unavailable | None, refused: dict[Write, Unavailable]
    ) -> None:
        for write in batch:
            self._buffered -= write.size
            if write.done is None:
                continue
            try:
                write.done(error or refused.get(write))
            except Exception as exc:  # one caller's bug must not leave the others waiting
                self._loop.call_exception_handler(
                    {"message": "store: done() raised", "exception": exc}
                )


def _nothing(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    del connection, writes


def probe(connection: sqlite3.Connection) -> None:
    """Prove that a database takes writes again, and that what it shows is on the disk.

    Raises:
        sqlite3.Error: it does not.
    """
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise sqlite3.OperationalError("the write-ahead log is in use")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO probe (room) VALUES (zeroblob(?))", (PROBE_ROOM,))
    connection.execute("DELETE FROM probe")
    connection.execute("COMMIT")


def group(batch: list[Write]) -> list[tuple[Handler, list[Values]]]:
    """Bring writes of one kind together, so that a handler can apply many in one statement.

    A write joins the last group of its kind, unless a later group has one of its keys.
    """
    groups: list[tuple[Handler, list[Values]]] = []
    latest: dict[Handler, int] = {}  # group of a kind
    touched: dict[str, int] = {}  # the last group that has a key
    for write in batch:
        last, place = len(groups) - 1, latest.get(write.handler, -1)
        if not write.keys:
            latest.clear()
            place = place if place == last else -1
        for key in write.keys:
            if touched.get(key, 0) > place:
                place = -1
        if place < 0:
            place = last + 1
            groups.append((write.handler, []))
        latest[write.handler] = place
        groups[place][1].append(write.values)
        for key in write.keys:
            touched[key] = place
    return groups


def _is_outage(exc: Exception) -> bool:
    """Tell a broken store from a write that cannot be stored (too large, a text that is no Unicode …)."""
    if isinstance(exc, sqlite3.OperationalError | sqlite3.InternalError | OSError):
        return True
    return type(exc) in (sqlite3.DatabaseError, sqlite3.Error)
