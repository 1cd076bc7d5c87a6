"""The writer: many writes a transaction, in order, and one bad write takes no other along."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from balancer.store.sqlite import writer as writer_module
from balancer.store.sqlite.connection import connect, set_writing
from balancer.store.sqlite.schema import migrate
from balancer.store.sqlite.writer import MAX_BATCH, Values, Writer
from shared.errors import Unavailable
from shared.system import SystemClock
from tests.fakes.store_openers import BreakableDisk
from tests.fakes.waiting import wait_until


class CountingDisk(BreakableDisk):
    """Counts commits."""

    def __init__(self) -> None:
        super().__init__()
        self.statements: list[str] = []
        self.last: sqlite3.Connection | None = None

    def connect(self, path: str) -> sqlite3.Connection:
        """Open a connection that reports its statements."""
        connection = self.last = super().connect(path)
        connection.set_trace_callback(self.statements.append)
        return connection

    def settings(self) -> tuple[str, int]:
        """Return how the latest connection makes its commits durable."""
        assert self.last is not None
        mode = self.last.execute("PRAGMA journal_mode").fetchone()[0]
        return mode, self.last.execute("PRAGMA synchronous").fetchone()[0]

    @property
    def commits(self) -> int:
        """Return the number of commits so far."""
        return self.statements.count("COMMIT")


@pytest.fixture
def disk() -> CountingDisk:
    """Return a disk that counts."""
    return CountingDisk()


@pytest.fixture
async def writer(tmp_path: Path, disk: CountingDisk) -> AsyncIterator[Writer]:
    """Return a writer over a table `seen`."""
    path = str(tmp_path / "x.db")
    connection = disk.connect(path)
    migrate(connection, path)
    set_writing(connection, path)
    connection.execute("CREATE TABLE seen (x UNIQUE, body)")
    disk.statements.clear()
    made = Writer(
        path,
        connection,
        loop=asyncio.get_running_loop(),
        clock=SystemClock(),
        connect=disk.connect,
    )
    yield made
    await made.close()
    other = connect(path)
    other.close()


def insert(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Keep numbers."""
    for x in writes:
        connection.execute("INSERT INTO seen (x) VALUES (?)", x)


def insert_many(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Do the same as another kind of write."""
    connection.executemany("INSERT INTO seen (x) VALUES (?)", writes)


def rows(tmp_path: Path) -> list[object]:
    """Return what the database holds, in order of arrival."""
    connection = connect(str(tmp_path / "x.db"))
    found = [row[0] for row in connection.execute("SELECT x FROM seen ORDER BY rowid")]
    connection.close()
    return found


async def test_writes_that_come_together_share_commits(writer: Writer, disk: CountingDisk) -> None:
    """A thousand writes of one loop turn cost a few syncs, not a thousand."""
    await asyncio.gather(*(writer.write(insert, (n,)) for n in range(MAX_BATCH)))
    assert disk.commits <= 5


async def test_a_batch_is_bounded(
    writer: Writer, disk: CountingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction grows past its limit in writes."""
    monkeypatch.setattr(writer_module, "MAX_BATCH", 10)
    await asyncio.gather(*(writer.write(insert, (n,)) for n in range(100)))
    assert disk.commits >= 10


async def test_writes_of_different_kinds_keep_their_order(writer: Writer, tmp_path: Path) -> None:
    """Neighbours of one kind are joined, and nothing overtakes."""
    kinds = (insert, insert_many, insert_many, insert)
    await asyncio.gather(*(writer.write(kinds[n % 4], (n,)) for n in range(200)))
    assert rows(tmp_path) == list(range(200))


@pytest.mark.parametrize(
    "bad", ["\ud800", object(), 2**70, 7], ids=["surrogate", "object", "huge", "twice"]
)
async def test_a_write_that_cannot_be_stored_fails_alone(
    writer: Writer, tmp_path: Path, bad: object
) -> None:
    """The others of its batch are committed, and the store stays healthy."""
    values: list[object] = [7, 8, bad, 9]
    answers = await asyncio.gather(
        *(writer.write(insert, (value,)) for value in values), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [type(None), type(None), Unavailable, type(None)]
    assert rows(tmp_path) == [7, 8, 9]
    assert writer.healthy


def insert_pair(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Keep two numbers a write, one statement each."""
    for first, second in writes:
        insert(connection, [(first,), (second,)])


async def test_a_write_that_cannot_be_stored_leaves_no_half(writer: Writer, tmp_path: Path) -> None:
    """What its first statement did is undone."""
    pairs: list[tuple[object, object]] = [(1, 2), (3, 2), (4, 5)]
    await asyncio.gather(
        *(writer.write(insert_pair, pair) for pair in pairs), return_exceptions=True
    )
    assert rows(tmp_path) == [1, 2, 4, 5]


async def test_an_outage_fails_all_that_is_buffered(
    writer: Writer, disk: CountingDisk, tmp_path: Path
) -> None:
    """What stood behind the failed commit fails too, and a write after the recovery goes through."""
    disk.broken = True
    answers = await asyncio.gather(
        *(writer.write(insert, (n,)) for n in range(3 * MAX_BATCH)), return_exceptions=True
    )
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert not writer.healthy
    disk.broken = False
    await wait_until(lambda: writer.healthy, "the writer has reopened")
    await writer.write(insert, (1,))
    assert rows(tmp_path) == [1]


async def test_recovery_syncs_the_log_before_it_is_trusted(
    writer: Writer, disk: CountingDisk
) -> None:
    """A failed sync may have lost pages: the log is moved into the database on another connection."""
    disk.broken = True
    with pytest.raises(Unavailable):
        await writer.write(insert, (1,))
    disk.statements.clear()
    disk.broken = False
    await wait_until(lambda: writer.healthy, "the writer has reopened")
    assert "PRAGMA wal_checkpoint(TRUNCATE)" in disk.statements
    assert disk.opened >= 2


async def test_every_commit_is_synced_before_and_after_an_outage(
    writer: Writer, disk: CountingDisk
) -> None:
    """A write-ahead log with synchronous=FULL (2): an acknowledged write survives a power cut."""
    await writer.write(insert, (1,))
    assert disk.settings() == ("wal", 2)
    disk.broken = True
    with pytest.raises(Unavailable):
        await writer.write(insert, (2,))
    disk.broken = False
    await wait_until(lambda: writer.healthy, "the writer has reopened")
    assert disk.settings() == ("wal", 2)


async def test_close_commits_what_is_buffered_and_refuses_the_rest(
    writer: Writer, tmp_path: Path
) -> None:
    """Nothing that was taken is dropped, nothing is taken after."""
    told: list[Unavailable | None] = []
    for n in range(500):
        writer.put(insert, (n,), done=told.append)
    await writer.close()
    writer.put(insert, (501,), done=told.append)
    await wait_until(lambda: len(told) == 501, "every done was called")
    assert told[:500] == [None] * 500
    assert isinstance(told[500], Unavailable)
    assert rows(tmp_path) == list(range(500))


async def test_close_ends_an_outage(writer: Writer, disk: CountingDisk) -> None:
    """A balancer whose disk is broken can still be stopped."""
    disk.broken = True
    with pytest.raises(Unavailable):
        await writer.write(insert, (1,))
    await writer.close()
    assert not writer.healthy


async def test_new_work_is_refused_when_too_much_is_buffered(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs does not fill the memory; ends of accepted tasks are still taken."""
    monkeypatch.setattr(writer_module, "MAX_BUFFERED_BYTES", 5000)
    told: dict[str, Unavailable | None] = {}
    for name, size, refusable in (
        ("first", 100, True),
        ("large", 4000, True),
        ("end", 9000, False),
    ):
        writer.put(
            insert,
            (name,),
            size=size,
            refusable=refusable,
            done=lambda error, name=name: told.__setitem__(name, error),
        )
    await wait_until(lambda: len(told) == 3, "every done was called")
    assert (told["first"], told["end"]) == (None, None)
    assert isinstance(told["large"], Unavailable)
    await writer.write(insert, ("later",))


async def test_a_done_that_raises_leaves_nobody_waiting(writer: Writer) -> None:
    """One caller's bug is reported to the loop and no one else's."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def broken(_: Unavailable | None) -> None:
        raise ValueError("bug")

    writer.put(insert, (1,), done=broken)
    await asyncio.gather(writer.write(insert, (2,)), writer.write(insert, (3,)))
    assert len(reported) == 1


async def test_a_cancelled_wait_leaves_the_write_in_place(writer: Writer, tmp_path: Path) -> None:
    """Who stops waiting does not undo."""
    waiting = asyncio.ensure_future(writer.write(insert, (1,)))
    await asyncio.sleep(0)
    waiting.cancel()
    await writer.write(insert, (2,))
    assert rows(tmp_path) == [1, 2]
