"""The tables of the embedded store and their versions.

`tasks` holds what `GET /tasks` shows; `requests` what only a task that may run (again) needs (its input,
its secrets), and is emptied as tasks succeed, so that updates of a task never rewrite its input; `dead`
what failed for good and can be replayed. Times are
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

# Tasks that their callers named, and codes that a caller wants another attempt after.
_VERSION_2: Migration = (
    "ALTER TABLE requests ADD COLUMN retry_on BLOB",
    """CREATE TABLE once (
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        task_id TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (owner, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX once_expires ON once (expires_at)",
    "CREATE INDEX once_task ON once (task_id)",
)

# Dead letters. `tasks.letters` counts those of a task, which is not forgotten while there is one.
_VERSION_3: Migration = (
    "ALTER TABLE tasks ADD COLUMN replay_of TEXT",
    "ALTER TABLE tasks ADD COLUMN letters INTEGER NOT NULL DEFAULT 0",
    # No number is used twice, so that a page is not continued with letters made after it.
    """CREATE TABLE dead (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        letter_id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        task INTEGER NOT NULL,
        died_at INTEGER NOT NULL,
        grp TEXT NOT NULL,
        function TEXT NOT NULL,
        code TEXT NOT NULL
    )""",
    "CREATE INDEX dead_kind ON dead (kind)",
    "CREATE TRIGGER dead_made AFTER INSERT ON dead BEGIN"
    " UPDATE tasks SET letters = letters + 1 WHERE seq = NEW.task; END",
    "CREATE TRIGGER dead_gone AFTER DELETE ON dead BEGIN"
    " UPDATE tasks SET letters = letters - 1 WHERE seq = OLD.task; END",
    "DROP INDEX tasks_finished",
    "CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL AND letters = 0",
    # What was given up before and can be taken up again; of failed tasks the inputs are gone.
    "INSERT INTO dead (letter_id, kind, task, died_at, grp, function, code)"
    " SELECT task_id, 'quarantine', seq, finished_at, grp, function, 'quarantined' FROM tasks"
    " WHERE status = 'quarantined' ORDER BY finished_at",
    "INSERT INTO dead (letter_id, kind, task, died_at, grp, function, code)"
    " SELECT o.webhook_id, 'webhook', o.task, o.settled_at, t.grp, t.function, 'webhook_failed'"
    " FROM outbox AS o JOIN tasks AS t ON t.seq = o.task WHERE o.status = 'dead' ORDER BY o.settled_at",
)

MIGRATIONS: tuple[Migration, ...] = (_VERSION_1, _VERSION_2, _VERSION_3)


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
