"""The writes of tasks, each applied in the writer's thread inside its transaction.

A handler takes many writes of its kind; what happens to every task is written many rows a statement
(`many_rows`), what happens seldom one by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import cast

from balancer.store.ports import MAX_ATTEMPTS_KEPT, REFUSED
from balancer.store.sqlite.many_rows import ManyRows
from balancer.store.sqlite.rows import (
    ATTEMPT_COLUMNS,
    OUTBOX_COLUMNS,
    REQUEST_COLUMNS,
    TASK_COLUMNS,
)
from balancer.store.sqlite.writer import Values
from shared.task_state import TaskStatus

_OPEN = "SELECT seq FROM tasks WHERE task_id = ? AND finished_at IS NULL"

# Rows that begin with the id of a task, beside the task itself when it is open. CROSS JOIN pins the
# order of the loops: from the rows to the table, by its index.
_OPEN_TASKS = (
    "{rows} AS v CROSS JOIN tasks AS t ON t.task_id = v.column1 WHERE t.finished_at IS NULL"
)


def _width(columns: str) -> int:
    return len(columns.split(","))


def _columns(columns: str, first: int) -> str:
    """Return the names that columns have in a table of rows, counted from a first one."""
    return ", ".join(f"v.column{first + place}" for place in range(_width(columns)))


_ACCEPT_TASKS = ManyRows(
    f"INSERT INTO tasks ({TASK_COLUMNS}) SELECT {_columns(TASK_COLUMNS, 1)} FROM {{rows}} AS v"
    " WHERE v.column1 IS NOT NULL ON CONFLICT (task_id) DO NOTHING",
    _width(TASK_COLUMNS),
)
_ACCEPT_REQUESTS = ManyRows(
    f"INSERT INTO requests (task, {REQUEST_COLUMNS}) SELECT t.seq, {_columns(REQUEST_COLUMNS, 2)}"
    f" FROM {_OPEN_TASKS} ON CONFLICT (task) DO NOTHING",
    1 + _width(REQUEST_COLUMNS),
)
_SET_ATTEMPT = (
    " ON CONFLICT (task, token) DO UPDATE SET finished_at = excluded.finished_at,"
    " outcome = excluded.outcome, code = excluded.code"
)
_PUT_ATTEMPT = (
    f"INSERT INTO attempts (task, {ATTEMPT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)" + _SET_ATTEMPT
)
_PUT_ATTEMPTS = ManyRows(
    f"INSERT INTO attempts (task, {ATTEMPT_COLUMNS}) SELECT t.seq, {_columns(ATTEMPT_COLUMNS, 2)}"
    f" FROM {_OPEN_TASKS}" + _SET_ATTEMPT,
    1 + _width(ATTEMPT_COLUMNS),
)
_FORGET_ATTEMPTS = (
    f"DELETE FROM attempts WHERE task = ({_OPEN}) AND n <= ?"  # of one task that has too many
)
_START_TASKS = ManyRows(
    "UPDATE tasks SET status = 'running', started_at = coalesce(tasks.started_at, v.column5),"
    " worker = v.column4, number = max(tasks.number, v.column3), due_at = NULL"
    " FROM {rows} AS v WHERE tasks.task_id = v.column1 AND tasks.finished_at IS NULL",
    1 + _width(ATTEMPT_COLUMNS),
)
# An attempt that was over soon was never noted as started.
_FINISH_TASKS = ManyRows(
    "UPDATE tasks SET status = v.column2, result = v.column3, failure = v.column4,"
    " worker = coalesce(v.column5, tasks.worker), spent = v.column6, finished_at = v.column7,"
    " started_at = coalesce(tasks.started_at, v.column8),"
    " number = max(tasks.number, coalesce(v.column9, 0)), due_at = NULL"
    " FROM {rows} AS v WHERE tasks.task_id = v.column1 AND tasks.finished_at IS NULL",
    9,
)
_DELETE_REQUESTS = ManyRows(
    f"DELETE FROM requests WHERE task IN (SELECT t.seq FROM {_OPEN_TASKS})", 1
)
_PUT_LETTERS = ManyRows(
    "INSERT INTO dead (letter_id, kind, task, died_at, grp, function, code)"
    " SELECT t.task_id, v.column2, t.seq, v.column4, t.grp, t.function, v.column3"
    f" FROM {_OPEN_TASKS} ON CONFLICT (letter_id) DO NOTHING",
    4,
)
_PUT_WEBHOOKS = ManyRows(
    f"INSERT OR REPLACE INTO outbox (task, {OUTBOX_COLUMNS})"
    f" SELECT t.seq, {_columns(OUTBOX_COLUMNS, 2)} FROM {_OPEN_TASKS}",
    1 + _width(OUTBOX_COLUMNS),
)


def accept(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Keep new tasks; each is (task values, request values). A task that is there stays as it was."""
    pairs = cast("Sequence[tuple[Values, Values]]", writes)
    _ACCEPT_TASKS.run(connection, [task for task, _ in pairs])
    _ACCEPT_REQUESTS.run(connection, [(task[0], *request) for task, request in pairs])


def started(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Note attempts that began; each is (task id, attempt values)."""
    rows = [(task_id, *cast("Values", attempt)) for task_id, attempt in writes]
    latest = {row[0]: row for row in rows}  # an update takes any one of several rows for a task
    _START_TASKS.run(connection, list(latest.values()))
    _put_attempts(connection, rows)


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
    outbox values or None, letter values or None). A dead letter keeps what it needs to run again.
    """
    ends: dict[object, Values] = {}
    for write in writes:
        ends.setdefault(write[0], write)  # the first end of a task is its end
    tasks: list[Values] = []
    attempts: list[Values] = []
    webhooks: list[Values] = []
    over: list[Values] = []
    letters: list[Values] = []
    for task_id, ended, attempt, webhook, letter in ends.values():
        values, began, number = cast("Values", ended), None, None
        if attempt is not None:
            attempts.append((task_id, *cast("Values", attempt)))
            began, number = attempts[-1][4], attempts[-1][2]
        if webhook is not None:
            webhooks.append((task_id, *cast("Values", webhook)))
        if letter is None:
            over.append((task_id,))
        else:
            letters.append((task_id, *cast("Values", letter)))
        tasks.append((task_id, *values, began, number))
    _put_attempts(connection, attempts)
    _PUT_WEBHOOKS.run(connection, webhooks)
    _DELETE_REQUESTS.run(connection, over)
    _PUT_LETTERS.run(connection, letters)
    _FINISH_TASKS.run(connection, tasks)  # last: the others look for tasks that are open


def prune(connection: sqlite3.Connection, writes: Sequence[Values]) -> None:
    """Forget tasks that finished long ago; each is (before, limit, list that gets the number)."""
    for before, limit, counted in writes:
        rows = connection.execute(
            "SELECT seq FROM tasks WHERE finished_at < ? AND letters = 0 AND NOT EXISTS (SELECT 1 FROM outbox"
            " WHERE outbox.task = tasks.seq AND outbox.status = 'pending') AND NOT EXISTS (SELECT 1"
            " FROM once WHERE once.task_id = tasks.task_id) ORDER BY finished_at LIMIT ?",
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


def _put_attempts(connection: sqlite3.Connection, rows: Sequence[Values]) -> None:
    """Keep attempts of open tasks; each is (task id, attempt values)."""
    _PUT_ATTEMPTS.run(connection, rows)
    for row in rows:
        number = row[2]
        assert isinstance(number, int)
        if number > MAX_ATTEMPTS_KEPT:
            connection.execute(_FORGET_ATTEMPTS, (row[0], number - MAX_ATTEMPTS_KEPT))


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
