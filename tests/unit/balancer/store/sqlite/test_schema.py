"""Versions of the tables: older files are brought up, newer and foreign ones are refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from balancer.store.sqlite.connection import connect
from balancer.store.sqlite.schema import APPLICATION_ID, MIGRATIONS, migrate
from shared.errors import ConfigError

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


def test_another_programs_file_is_refused_and_left_as_it_was(database: sqlite3.Connection) -> None:
    """Tables that are not ours are nobody's business."""
    database.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(ConfigError, match="another program"):
        migrate(database, "x.db")
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
    database.close()
