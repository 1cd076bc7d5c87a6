"""The writes of dead letters, each applied in the writer's thread inside its transaction.

A handler tells what came of a write in the last item of its values, a list: the last entry counts,
because a write may be applied again on its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import cast

from balancer.store.ports import INLINE_INPUT_LIMIT, OutboxRow, StoredTask
from balancer.store.ports_dead import DeadCounts, DeadFilter, Renewal
from balancer.store.sqlite.rows import (
    ATTEMPT_COLUMNS,
    STORED_COLUMNS,
    attempt_of,
    micros,
    outbox_row_of,
    stored_of,
)
from balancer.store.sqlite.writer import Values
from shared.dead_letter import DeadKind
from shared.task_state import TaskEvent, TaskStatus, after

_TASK_OF = "SELECT task FROM dead WHERE letter_id = ? AND kind = ?"
_GONE = "DELETE FROM dead WHERE letter_id = ?"
_STORED = f"SELECT {STORED_COLUMNS} FROM tasks AS t JOIN requests AS r ON r.task = t.seq WHERE t.seq = :seq"
_ATTEMPTS = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE task = ? ORDER BY n, started_at, token"
# A limit that the request names counts anew: from now, in microseconds.
_DEADLINE = (
    "(SELECT :at + CAST(r.deadline_s * 1000000 AS INTEGER) FROM requests AS r WHERE r.task = :seq)"
)
_AGAIN = (
    "INSERT INTO tasks (task_id, grp, function, contract, mode, origin, priority, correlation_id, status,"
    " ord, deaths, spent, number, created_at, deadline_at, metadata, replay_of)"
    " SELECT :task_id, grp, function, contract, mode, origin, priority, correlation_id, :status,"
    f" :ord, 0, 0, 0, :at, {_DEADLINE}, metadata, task_id FROM tasks WHERE seq = :seq"
)
_RELEASE = (
    "UPDATE tasks SET status = :status, deaths = 0, finished_at = NULL, failure = NULL, result = NULL,"
    f" worker = NULL, due_at = NULL, deadline_at = {_DEADLINE} WHERE seq = :seq"
)
_SEND_AGAIN = (
    "UPDATE outbox SET status = 'pending', attempts = 0, next_at = ?, settled_at = NULL, error = ''"
    " WHERE webhook_id = ?"
)
_ROW = "SELECT o.*, t.task_id FROM outbox AS o JOIN tasks AS t ON t.seq = o.task WHERE o.webhook_id = ?"


def replay_task(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Run the requests of letters as new tasks; each is (letter id, renewal, list that gets the task)."""
    for letter_id, renewal, told in writes:
        new = cast("Renewal", renewal)
        seq = _task_of(connection, letter_id, DeadKind.TASK)
        task: StoredTask | None = None
        if seq is not None:
            values = {
                "task_id": new.task_id, "status": TaskStatus.QUEUED.value, "ord": new.order,
                "at": micros(new.at), "seq": seq,
            }  # fmt: skip
            made = connection.execute(_AGAIN, values).lastrowid
            connection.execute("UPDATE requests SET task = ? WHERE task = ?", (made, seq))
            connection.execute(_GONE, (letter_id,))
            task = _stored(connection, made)
        cast("list[StoredTask | None]", told).append(task)


def release(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Put quarantined tasks back; each is (task id, moment, list that gets the task)."""
    for task_id, at, told in writes:
        seq = _task_of(connection, task_id, DeadKind.QUARANTINE)
        task: StoredTask | None = None
        if seq is not None:
            status = after(TaskStatus.QUARANTINED, TaskEvent.RELEASED).value
            connection.execute(_RELEASE, {"status": status, "at": at, "seq": seq})
            connection.execute(_GONE, (task_id,))
            task = _stored(connection, seq)
        cast("list[StoredTask | None]", told).append(task)


def replay_webhook(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Make webhooks pending again; each is (webhook id, moment, list that gets the row)."""
    for webhook_id, at, told in writes:
        row: OutboxRow | None = None
        if _task_of(connection, webhook_id, DeadKind.WEBHOOK) is not None:
            connection.execute(_SEND_AGAIN, (at, webhook_id))
            connection.execute(_GONE, (webhook_id,))
            row = outbox_row_of(_named(connection, _ROW, (webhook_id,)))
        cast("list[OutboxRow | None]", told).append(row)


def purge(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Forget letters; each is (filter, limit, list that gets how many)."""
    for chosen, limit, told in writes:
        conditions, values = where(cast("DeadFilter", chosen))
        rows = connection.execute(
            f"SELECT kind, task, letter_id FROM dead{conditions} ORDER BY seq LIMIT ?",
            (*values, limit),
        ).fetchall()
        found: dict[DeadKind, list[tuple[int, str]]] = {kind: [] for kind in DeadKind}
        for kind, seq, letter_id in rows:
            found[DeadKind(kind)].append((seq, letter_id))
        _empty(connection, found)
        connection.executemany(_GONE, [(letter_id,) for _, _, letter_id in rows])
        cast("list[DeadCounts]", told).append(DeadCounts(*map(len, found.values())))


def where(chosen: DeadFilter) -> tuple[str, list[object]]:
    """Return the condition of a filter, and its values."""
    wanted: list[tuple[str, object]] = [
        ("letter_id = ?", chosen.letter_id),
        ("function = ?", chosen.function),
        ("grp = ?", chosen.group),
        ("code = ?", chosen.code),
        ("died_at >= ?", None if chosen.since is None else micros(chosen.since)),
        ("died_at < ?", None if chosen.before is None else micros(chosen.before)),
    ]
    used = [(condition, value) for condition, value in wanted if value is not None]
    conditions = [condition for condition, _ in used]
    values = [value for _, value in used]
    if chosen.kinds:
        # Without the index of kinds: letters are walked in their order, and the first ones are enough.
        conditions.append(f"+kind IN ({', '.join('?' * len(chosen.kinds))})")
        values += [kind.value for kind in chosen.kinds]
    return (" WHERE " + " AND ".join(conditions) if conditions else ""), values


def _empty(
    connection: sqlite3.Connection, found: Mapping[DeadKind, Sequence[tuple[int, str]]]
) -> None:
    """Drop what letters kept, (task, id) by kind; what is left of their tasks are only records."""
    quarantined = [(seq,) for seq, _ in found[DeadKind.QUARANTINE]]
    tasks = [(seq,) for seq, _ in found[DeadKind.TASK]] + quarantined
    status = after(TaskStatus.QUARANTINED, TaskEvent.FAILED).value
    connection.executemany("DELETE FROM requests WHERE task = ?", tasks)
    connection.executemany(f"UPDATE tasks SET status = '{status}' WHERE seq = ?", quarantined)
    connection.executemany(
        "UPDATE outbox SET size = 0, body = x'' WHERE webhook_id = ?",
        [(letter_id,) for _, letter_id in found[DeadKind.WEBHOOK]],
    )


def _task_of(connection: sqlite3.Connection, letter_id: object, kind: DeadKind) -> int | None:
    row = connection.execute(_TASK_OF, (letter_id, kind.value)).fetchone()
    return None if row is None else row[0]


def _stored(connection: sqlite3.Connection, seq: int | None) -> StoredTask:
    values = {"inline": INLINE_INPUT_LIMIT, "seq": seq}
    row = _named(connection, _STORED, values)
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return stored_of(row, [attempt_of(each) for each in cursor.execute(_ATTEMPTS, (seq,))])


def _named(
    connection: sqlite3.Connection, sql: str, values: Values | Mapping[str, object]
) -> sqlite3.Row:
    """Return one row whose columns have names, which those of the writer's connection have not."""
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(sql, values).fetchone()
