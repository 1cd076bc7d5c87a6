"""The tables of the embedded store and their versions.

`tasks` holds what `GET /tasks` shows; `requests` what only a task that may still run needs (its input,
its secrets), and is emptied as tasks end, so that updates of a task never rewrite its input. Times are
whole microseconds since 1970 UTC. `PRAGMA user_version` counts the migrations that were applied: a
new version is one more entry at the end of `MIGRATIONS`, and an entry is never changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from shared.errors import ConfigError

APPLICATION_ID = 0x43414252  # "CABR": tells our files from another program's

Migration = tuple[str, ...]

_VERSION_1: Migration = (
    """CREATE TABLE tasks (
        seq INTEGER PRIMARY KEY,
        task_id TEXT NOT NULL UNIQUE,
        grp TEXT NOT NULL,
        function TEXT NOT NULL,
        contract INTEGER NOT NULL,
        mode TEXT NOT NULL,
        origin TEXT NOT NULL,
        priority NOT NULL,
        correlation_id TEXT NOT NULL,
        status TEXT NOT NULL,
        ord INTEGER NOT NULL,
        deaths INTEGER NOT NULL,
        spent INTEGER NOT NULL,
        number INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        deadline_at INTEGER,
        due_at INTEGER,
        started_at INTEGER,
        finished_at INTEGER,
        worker TEXT,
        failure BLOB,
        metadata BLOB,
        result BLOB
    )""",
    "CREATE INDEX tasks_open ON tasks (ord) WHERE finished_at IS NULL",
    "CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL",
    # Entries of an index end with the row's seq: each of these is in the order of the listing.
    "CREATE INDEX tasks_status ON tasks (status)",
    "CREATE INDEX tasks_function ON tasks (function)",
    "CREATE INDEX tasks_group ON tasks (grp)",
    """CREATE TABLE requests (
        task INTEGER PRIMARY KEY,
        timeout_s REAL,
        deadline_s REAL,
        max_attempts INTEGER,
        webhook BLOB,
        worker_key TEXT,
        input BLOB NOT NULL
    )""",
    """CREATE TABLE attempts (
        task INTEGER NOT NULL,
        token TEXT NOT NULL,
        n INTEGER NOT NULL,
        worker TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        finished_at INTEGER,
        outcome TEXT,
        code TEXT,
        PRIMARY KEY (task, token)
    ) WITHOUT ROWID""",
    """CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY,
        webhook_id TEXT NOT NULL UNIQUE,
        task INTEGER NOT NULL,
        status TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        next_at INTEGER,
        settled_at INTEGER,
        host TEXT NOT NULL,
        size INTEGER NOT NULL,
        url TEXT NOT NULL,
        headers BLOB NOT NULL,
        outcome TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        error TEXT NOT NULL,
        body BLOB NOT NULL
    )""",
    "CREATE INDEX outbox_due ON outbox (next_at, host) WHERE status = 'pending'",
    "CREATE INDEX outbox_task ON outbox (task)",
    "CREATE TABLE maintenance (worker TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE probe (room BLOB NOT NULL)",
)

MIGRATIONS: tuple[Migration, ...] = (_VERSION_1,)


def migrate(
    connection: sqlite3.Connection, path: str, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Bring a database to the newest version, one transaction a version.

    Raises:
        ConfigError: it belongs to a newer Cabrank or to another program.
    """
    version = _pragma(connection, "user_version")
    _refuse_foreign(connection, path, version)
    if version > len(migrations):
        raise ConfigError(
            f"Store {path} has schema version {version}, and this Cabrank knows versions up to"
            f" {len(migrations)}: run the newer Cabrank that wrote it, or name another file"
        )
    for number, statements in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise


def _refuse_foreign(connection: sqlite3.Connection, path: str, version: int) -> None:
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    ours = _pragma(connection, "application_id") == APPLICATION_ID
    if not ours and not (empty and version == 0):
        raise ConfigError(f"Store {path} is the database of another program: name another file")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value = connection.execute(f"PRAGMA {name}").fetchone()[0]
    assert isinstance(value, int)
    return value
