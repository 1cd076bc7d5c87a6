"""The writes of tasks, each applied in the writer's thread inside its transaction.

A handler takes all neighbouring writes of its kind. Accepts go into the database many rows a statement:
between two statements the thread has to win the interpreter back from a busy event loop, which costs
more than the rows do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import cast

from balancer.store.ports import MAX_ATTEMPTS_KEPT, REFUSED
from balancer.store.sqlite.rows import (
    ATTEMPT_COLUMNS,
    OUTBOX_COLUMNS,
    REQUEST_COLUMNS,
    TASK_COLUMNS,
)
from balancer.store.sqlite.writer import Values
from shared.task_state import TaskStatus

_ROWS_A_STATEMENT = 64  # a statement is prepared once for each count, and stays so

_OPEN = "SELECT seq FROM tasks WHERE task_id = ? AND finished_at IS NULL"

_PUT_ATTEMPT = (
    f"INSERT INTO attempts (task, {ATTEMPT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (task, token) DO UPDATE SET finished_at = excluded.finished_at,"
    " outcome = excluded.outcome, code = excluded.code"
)

# A task that was released from quarantine ends once more, under the same webhook id.
_PUT_WEBHOOK = (
    f"INSERT OR REPLACE INTO outbox (task, {OUTBOX_COLUMNS})"
    f" VALUES (?, {', '.join('?' * len(OUTBOX_COLUMNS.split(',')))})"
)


def accept(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Keep new tasks; each is (task values, request values). A task that is there stays as it was."""
    for start in range(0, len(writes), _ROWS_A_STATEMENT):
        rows = writes[start : start + _ROWS_A_STATEMENT]
        tasks = [value for task, _ in rows for value in cast("Values", task)]
        connection.execute(_accept_tasks(len(rows)), tasks)
        requests: list[object] = []
        for task, request in rows:
            requests.append(cast("Values", task)[0])
            requests += cast("Values", request)
        connection.execute(_accept_requests(len(rows)), requests)


def started(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Note attempts that began; each is (task id, attempt values)."""
    for task_id, attempt in writes:
        seq = _open_task(connection, task_id)
        if seq is None:
            continue
        values = cast("Values", attempt)
        connection.execute(
            "UPDATE tasks SET status = ?, started_at = coalesce(started_at, ?), worker = ?,"
            " number = max(number, ?), due_at = NULL WHERE seq = ?",
            (TaskStatus.RUNNING.value, values[3], values[2], values[1], seq),
        )
        _put_attempt(connection, seq, values)


def requeued(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Note attempts that ended without ending their task.

    Each is (task id, attempt values or None, deaths, spent, due_at).
    """
    for task_id, attempt, deaths, spent, due_at in writes:
        seq = _open_task(connection, task_id)
        if seq is None:
            continue
        status = TaskStatus.QUEUED if due_at is None else TaskStatus.SCHEDULED
        connection.execute(
            "UPDATE tasks SET status = ?, deaths = ?, spent = ?, due_at = ?, worker = NULL WHERE seq = ?",
            (status.value, deaths, spent, due_at, seq),
        )
        if attempt is not None:
            _put_attempt(connection, seq, cast("Values", attempt))


def finish(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Commit ends of tasks and their webhooks; a finished task stays as it was.

    Each is (task id, (status, result, failure, worker, spent, finished_at), attempt values or None,
    outbox values or None).
    """
    for task_id, ended, attempt, webhook in writes:
        seq = _open_task(connection, task_id)
        if seq is None:
            continue
        values = cast("Values", ended)
        connection.execute(
            "UPDATE tasks SET status = ?, result = ?, failure = ?, worker = coalesce(?, worker),"
            " spent = ?, finished_at = ?, due_at = NULL WHERE seq = ?",
            (*values, seq),
        )
        if values[0] != TaskStatus.QUARANTINED.value:  # an operator may still release that one
            connection.execute("DELETE FROM requests WHERE task = ?", (seq,))
        if attempt is not None:
            _put_attempt(connection, seq, cast("Values", attempt))
        if webhook is not None:
            connection.execute(_PUT_WEBHOOK, (seq, *cast("Values", webhook)))


def prune(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Forget tasks that finished long ago; each is (before, limit, list that gets the number)."""
    for before, limit, counted in writes:
        rows = connection.execute(
            "SELECT seq FROM tasks WHERE finished_at < ? AND NOT EXISTS (SELECT 1 FROM outbox"
            " WHERE outbox.task = tasks.seq AND outbox.status = 'pending') ORDER BY finished_at LIMIT ?",
            (before, limit),
        ).fetchall()
        for table, column in (
            ("attempts", "task"),
            ("requests", "task"),
            ("outbox", "task"),
            ("tasks", "seq"),
        ):
            connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", rows)
        cast("list[int]", counted).append(len(rows))


def _open_task(connection: sqlite3.Connection, task_id: object) -> int | None:
    row = connection.execute(_OPEN, (task_id,)).fetchone()
    return None if row is None else row[0]


def _put_attempt(connection: sqlite3.Connection, seq: int, values: Values) -> None:
    if values[5] == REFUSED:
        connection.execute("DELETE FROM attempts WHERE task = ? AND token = ?", (seq, values[0]))
        return
    connection.execute(_PUT_ATTEMPT, (seq, *values))
    number = values[1]
    assert isinstance(number, int)
    if number > MAX_ATTEMPTS_KEPT:
        connection.execute(
            "DELETE FROM attempts WHERE task = ? AND n <= ?", (seq, number - MAX_ATTEMPTS_KEPT)
        )


def _places(columns: str) -> str:
    return ", ".join("?" * len(columns.split(",")))


@cache
def _accept_tasks(rows: int) -> str:
    values = ", ".join([f"({_places(TASK_COLUMNS)})"] * rows)
    return f"INSERT INTO tasks ({TASK_COLUMNS}) VALUES {values} ON CONFLICT (task_id) DO NOTHING"


@cache
def _accept_requests(rows: int) -> str:
    """Insert requests under the seq that their tasks were given; CROSS JOIN pins the order of the loops."""
    count = len(REQUEST_COLUMNS.split(","))
    values = ", ".join([f"(?, {_places(REQUEST_COLUMNS)})"] * rows)
    columns = ", ".join(f"v.column{number}" for number in range(2, count + 2))
    return (
        f"INSERT INTO requests (task, {REQUEST_COLUMNS}) SELECT t.seq, {columns}"
        f" FROM (VALUES {values}) AS v CROSS JOIN tasks AS t ON t.task_id = v.column1"
        " WHERE t.finished_at IS NULL ON CONFLICT (task) DO NOTHING"
    )
