"""Keys of tasks, in SQLite: the `OnceStore` of the embedded store, and the acceptance of a task with one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import cast

from balancer.store.ports import Done, StoredTask
from balancer.store.ports_once import KeyTaken, OnceKey
from balancer.store.sqlite import task_writes
from balancer.store.sqlite.reader import Reader
from balancer.store.sqlite.rows import micros, moment
from balancer.store.sqlite.writer import Values, Writer
from shared.errors import Unavailable

# A key that has expired and is not pruned yet is free.
_CLAIM = (
    "INSERT INTO once (owner, key, fingerprint, task_id, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)"
    " ON CONFLICT (owner, key) DO UPDATE SET fingerprint = excluded.fingerprint,"
    " task_id = excluded.task_id, expires_at = excluded.expires_at WHERE once.expires_at <= ?6"
)
_HOLDER = "SELECT task_id FROM once WHERE owner = ? AND key = ?"
_FIND = "SELECT fingerprint, task_id, expires_at FROM once WHERE owner = ? AND key = ? AND expires_at > ?"
_PRUNE = (
    "DELETE FROM once WHERE (owner, key) IN (SELECT owner, key FROM once"
    " WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"
)
_PRUNE_OLDEST = (
    "DELETE FROM once WHERE (owner, key) IN (SELECT owner, key FROM once ORDER BY expires_at"
    " LIMIT max(0, min(?2, (SELECT count(*) FROM once) - ?1)))"
)


class SqliteOnce:
    """Keys in the table `once`."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def find(self, owner: str, key: str, now: datetime) -> OnceKey | None:
        """Return a key that has not expired."""

        def query(connection: sqlite3.Connection) -> OnceKey | None:
            row = connection.execute(_FIND, (owner, key, micros(now))).fetchone()
            if row is None:
                return None
            return OnceKey(
                owner=owner,
                key=key,
                fingerprint=row["fingerprint"],
                task_id=row["task_id"],
                expires_at=moment(row["expires_at"]),
            )

        return await self._reader.run(query)

    async def prune(self, now: datetime, keep: int, limit: int) -> int:
        """Forget keys that have expired, and those past the number that is kept."""
        counted: list[int] = []
        await self._writer.write(_prune, (micros(now), keep, limit, counted))
        return counted[-1]


def accept_once(
    writer: Writer, task: StoredTask, once: OnceKey, values: Values, done: Done
) -> None:
    """Keep a task together with its key; `values` are those of `task_writes.accept`."""
    claim = (
        once.owner, once.key, once.fingerprint, once.task_id,
        micros(once.expires_at), micros(task.created_at),
    )  # fmt: skip
    verdicts: list[bool] = []  # the last one counts: a write may be applied again on its own

    def settled(error: Unavailable | None) -> None:
        done(error if error is not None or verdicts[-1] else KeyTaken())

    writer.put(
        _accept,
        (values, claim, verdicts),
        keys=(task.task_id, f"once {once.owner} {once.key}"),
        size=len(task.request.input) + len(task.record.metadata or b""),
        done=settled,
        refusable=True,
    )


def _accept(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Keep tasks whose keys are free; each is (task, claim, list that gets the verdict)."""
    for values, claim, verdicts in writes:
        owner, key, _, task_id, *_ = place = cast("Values", claim)
        connection.execute(_CLAIM, place)
        holder = connection.execute(_HOLDER, (owner, key)).fetchone()[0]
        if holder == task_id:
            task_writes.accept(connection, [cast("Values", values)])
        cast("list[bool]", verdicts).append(holder == task_id)


def _prune(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Forget keys; each is (now, keep, limit, list that gets the number)."""
    for now, keep, limit, counted in writes:
        assert isinstance(limit, int)
        gone = connection.execute(_PRUNE, (now, limit)).rowcount
        if gone < limit:  # else the next batch counts them: that costs as much as a batch
            gone += connection.execute(_PRUNE_OLDEST, (keep, limit - gone)).rowcount
        cast("list[int]", counted).append(gone)
