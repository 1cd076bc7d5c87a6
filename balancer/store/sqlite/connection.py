"""How connections to the database are made and set: the one place that knows the pragmas."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from shared.errors import ConfigError

Connect = Callable[[str], sqlite3.Connection]

OLDEST = (3, 33)  # SQLite that has UPDATE … FROM
BUSY_TIMEOUT_S = 5.0  # a checkpoint waits so long for a reader; nobody else writes
JOURNAL_SIZE_LIMIT = 64 * 1024 * 1024  # what a burst may leave behind as a write-ahead log


def connect(
    path: str, version: tuple[int, ...] = sqlite3.sqlite_version_info
) -> sqlite3.Connection:
    """Open a database in autocommit: transactions begin where the code says so.

    The thread check is off because a connection is made in one thread and then used by one other.

    Args:
        path: of the file.
        version: of the SQLite library.

    Raises:
        ConfigError: the library is too old.
    """
    if version < OLDEST:
        needed, found = (".".join(map(str, numbers)) for numbers in (OLDEST, version))
        raise ConfigError(
            f"Store {path} needs SQLite {needed} or later, this Python has {found}: use a newer one,"
            " or a Redis store"
        )
    return sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def set_writing(connection: sqlite3.Connection, path: str) -> None:
    """Make commits durable: a write-ahead log, synced at every commit.

    Raises:
        ConfigError: the file system has no write-ahead log (a network share).
    """
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigError(f"Store {path} cannot use a write-ahead log here: put it on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT}")


def set_reading(connection: sqlite3.Connection) -> None:
    """Let a connection read only."""
    connection.execute("PRAGMA query_only = ON")
    connection.row_factory = sqlite3.Row
