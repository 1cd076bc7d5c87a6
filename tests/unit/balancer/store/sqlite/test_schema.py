"""Versions of the tables: older files are brought up, newer and foreign ones are refused."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

import pytest

from balancer.store.sqlite.connection import connect
from balancer.store.sqlite.rows import REQUEST_COLUMNS, TASK_COLUMNS, request_values, task_values
from balancer.store.sqlite.schema import APPLICATION_ID, MIGRATIONS, migrate
from balancer.store.sqlite.store import SqliteStore
from shared.errors import ConfigError
from shared.system import SystemClock
from tests.fakes.stored_tasks import stored_task

SECOND = ("ALTER TABLE tasks ADD COLUMN note TEXT", "CREATE TABLE extra (x)")


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    """Return a connection to an empty file."""
    return connect(str(tmp_path / "x.db"))


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of a database."""
    return connection.execute("PRAGMA user_version").fetchone()[0]


def test_an_empty_file_becomes_ours(database: sqlite3.Connection) -> None:
    """The newest version and our mark are set."""
    migrate(database, "x.db")
    assert version_of(database) == len(MIGRATIONS)
    assert database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    database.close()


def test_a_migrated_file_is_left_alone(database: sqlite3.Connection) -> None:
    """Migrating twice is migrating once."""
    migrate(database, "x.db")
    database.execute("INSERT INTO maintenance VALUES ('w')")
    migrate(database, "x.db")
    assert database.execute("SELECT * FROM maintenance").fetchall() == [("w",)]
    database.close()


def test_an_older_file_is_brought_up_with_what_it_holds(database: sqlite3.Connection) -> None:
    """Only the migrations that are missing run."""
    migrate(database, "x.db")
    database.execute("INSERT INTO maintenance VALUES ('w')")
    migrate(database, "x.db", (*MIGRATIONS, SECOND))
    assert version_of(database) == len(MIGRATIONS) + 1
    assert database.execute("SELECT count(*) FROM extra").fetchone() == (0,)
    assert database.execute("SELECT * FROM maintenance").fetchall() == [("w",)]
    database.close()


def test_a_migration_that_fails_leaves_the_version_before(database: sqlite3.Connection) -> None:
    """A migration is one transaction: half of one is never seen."""
    migrate(database, "x.db")
    with pytest.raises(sqlite3.OperationalError):
        migrate(database, "x.db", (*MIGRATIONS, ("CREATE TABLE extra (x)", "NONSENSE")))
    assert version_of(database) == len(MIGRATIONS)
    migrate(database, "x.db", (*MIGRATIONS, SECOND))
    database.close()


def test_a_newer_file_is_refused_and_says_why(database: sqlite3.Connection) -> None:
    """A downgrade does not touch the file."""
    migrate(database, "x.db", (*MIGRATIONS, SECOND))
    known = len(MIGRATIONS)
    with pytest.raises(ConfigError, match=f"schema version {known + 1}.*versions up to {known}"):
        migrate(database, "x.db")
    assert version_of(database) == known + 1
    database.close()


async def test_an_sqlite_that_is_too_old_is_refused_and_says_so(tmp_path: Path) -> None:
    """At the start, not at the first result; 3.33 has what the statements need."""
    old, oldest = partial(connect, version=(3, 32, 3)), partial(connect, version=(3, 33, 0))
    with pytest.raises(ConfigError, match=r"SQLite 3\.33 or later, this Python has 3\.32\.3"):
        await SqliteStore.open(str(tmp_path / "x.db"), clock=SystemClock(), connect=old)
    store = await SqliteStore.open(str(tmp_path / "x.db"), clock=SystemClock(), connect=oldest)
    await store.close()


def test_another_programs_file_is_refused_and_left_as_it_was(database: sqlite3.Connection) -> None:
    """Tables that are not ours are nobody's business."""
    database.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(ConfigError, match="another program"):
        migrate(database, "x.db")
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
    database.close()


async def test_a_file_of_the_first_version_keeps_its_tasks(tmp_path: Path) -> None:
    """What was accepted by the version before runs, and can be named from now on."""
    path = tmp_path / "x.db"
    old = connect(str(path))
    migrate(old, str(path), MIGRATIONS[:1])
    task = stored_task(1)
    columns = ", ".join(REQUEST_COLUMNS.split(", ")[:6])
    marks = ", ".join("?" * len(TASK_COLUMNS.split(", ")))
    old.execute(f"INSERT INTO tasks ({TASK_COLUMNS}) VALUES ({marks})", task_values(task))
    values = request_values(task.request)[:6]
    old.execute(f"INSERT INTO requests (task, {columns}) VALUES (1, ?, ?, ?, ?, ?, ?)", values)
    old.close()
    store = await SqliteStore.open(str(path), clock=SystemClock())
    [kept] = await store.tasks.recover(after_order=0, limit=10)
    assert kept.request == task.request
    assert await store.once.find("lb", "k", task.created_at) is None
    await store.close()


def test_what_an_older_file_gave_up_becomes_dead_letters(database: sqlite3.Connection) -> None:
    """Dead webhooks and quarantined tasks can be replayed; failed tasks cannot: their inputs are gone."""
    migrate(database, "x.db", MIGRATIONS[:2])
    columns = (
        "seq, task_id, grp, function, contract, mode, origin, priority, correlation_id, status, ord,"
        " deaths, spent, number, created_at, finished_at"
    )
    for seq, status in enumerate(("quarantined", "failed", "succeeded", "queued"), start=1):
        ended = None if status == "queued" else 50 + seq
        database.execute(
            f"INSERT INTO tasks ({columns}) VALUES (?, ?, 'g', 'f', 1, 'sync', 'api', 1, '', ?, 1, 0, 0, 0, 1, ?)",
            (seq, f"t{seq}", status, ended),
        )
    for status, seq in (("dead", 3), ("delivered", 2)):
        database.execute(
            "INSERT INTO outbox (webhook_id, task, status, attempts, settled_at, host, size, url, headers,"
            " outcome, correlation_id, error, body) VALUES (?, ?, ?, 4, 70, 'h', 1, 'u', '[]', 'o', '', 'e', 'b')",
            (f"msg_t{seq}", seq, status),
        )
    migrate(database, "x.db")
    found = database.execute("SELECT letter_id, kind, task, died_at, grp, function, code FROM dead")
    assert found.fetchall() == [
        ("t1", "quarantine", 1, 51, "g", "f", "quarantined"),
        ("msg_t3", "webhook", 3, 70, "g", "f", "webhook_failed"),
    ]
    letters = database.execute("SELECT letters FROM tasks ORDER BY seq").fetchall()
    assert letters == [(1,), (0,), (1,), (0,)]
    database.close()
