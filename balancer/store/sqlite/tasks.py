"""Durable tasks in SQLite: the `TaskStore` of the embedded store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from balancer.store.cursor import decode_cursor, encode_cursor
from balancer.store.ports import (
    INLINE_INPUT_LIMIT,
    REFUSED,
    Done,
    OutboxRow,
    StoredTask,
    TaskFilter,
)
from balancer.store.sqlite import task_writes
from balancer.store.sqlite.once import accept_once
from balancer.store.sqlite.reader import Reader
from balancer.store.sqlite.rows import (
    ATTEMPT_COLUMNS,
    STORED_COLUMNS,
    attempt_of,
    attempt_values,
    failure_json,
    letter_values,
    micros,
    micros_or_none,
    outbox_values,
    record_of,
    request_values,
    stored_of,
    task_values,
)
from balancer.store.sqlite.writer import Writer
from shared.errors import Unavailable
from shared.ids import TaskId
from shared.task import AttemptRecord, Outcome, TaskRecord
from shared.task_state import TaskStatus

NOTED_S = 1.0  # who looks waits so long for the disk, and then sees what is there
NOTE_STARTS_S = 0.1  # an attempt that is over within this time is written once, with its end

_WEBHOOK = (
    "o.status AS webhook_status, o.attempts AS webhook_attempts, o.next_at AS webhook_next_at"
    " FROM tasks AS t"
    " LEFT JOIN outbox AS o ON o.seq = (SELECT max(seq) FROM outbox WHERE outbox.task = t.seq)"
)
_LISTED = (
    "SELECT t.seq, task_id, grp, function, contract, mode, origin, priority, t.correlation_id, t.status,"
    " created_at, due_at, started_at, finished_at, worker, failure, metadata, replay_of, NULL AS result, "
    + _WEBHOOK
)
_GET = f"SELECT t.*, {_WEBHOOK}"

# Ties of one order stay on one page, so that the next page can begin after it.
_RECOVER = (
    f"SELECT {STORED_COLUMNS} FROM tasks AS t JOIN requests AS r ON r.task = t.seq"
    " WHERE t.finished_at IS NULL AND t.ord > :after AND t.ord <= (SELECT max(ord) FROM (SELECT ord"
    " FROM tasks WHERE finished_at IS NULL AND ord > :after ORDER BY ord LIMIT :limit))"
    " ORDER BY t.ord, t.seq"
)
# A dead letter has its input, too, but it is run again as another task.
_INPUT = (
    "SELECT r.input FROM tasks AS t JOIN requests AS r ON r.task = t.seq WHERE t.task_id = ?"
    " AND (t.finished_at IS NULL OR t.status = 'quarantined')"
)
_ENDED = "SELECT count(*) FROM tasks WHERE finished_at IS NOT NULL AND letters = 0"
_COUNT = "SELECT count(*) FROM tasks WHERE finished_at IS NULL"


class SqliteTasks:
    """Tasks in the tables `tasks`, `requests` and `attempts`."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader
        self._begun: dict[TaskId, AttemptRecord] = {}  # not written down yet
        self._noting: asyncio.TimerHandle | None = None

    def accept(self, task: StoredTask, done: Done) -> None:
        """Keep a new task, and its key."""
        values = (task_values(task), request_values(task.request))
        if task.once is not None:
            accept_once(self._writer, task, task.once, values, done)
            return
        self._writer.put(
            task_writes.accept,
            values,
            keys=(task.task_id,),
            size=len(task.request.input) + len(task.record.metadata or b""),
            done=done,
            refusable=True,
        )

    def started(self, task_id: TaskId, attempt: AttemptRecord) -> None:
        """Note that an attempt began."""
        waiting = self._begun.get(task_id)
        if waiting is not None and waiting.token != attempt.token:
            self._put_start(task_id, waiting)
        self._begun[task_id] = attempt
        if self._noting is None:
            loop = asyncio.get_running_loop()
            self._noting = loop.call_later(NOTE_STARTS_S, self.note_starts)

    def note_starts(self) -> None:
        """Write down the attempts that have begun and go on."""
        if self._noting is not None:
            self._noting.cancel()
            self._noting = None
        begun, self._begun = self._begun, {}
        for task_id, attempt in begun.items():
            self._put_start(task_id, attempt)

    def requeued(
        self,
        task_id: TaskId,
        attempt: AttemptRecord | None,
        *,
        deaths: int,
        spent: int,
        due_at: datetime | None,
    ) -> None:
        """Note that an attempt ended without ending the task."""
        began = self._begun.pop(task_id, None)
        if began is not None and (attempt is None or attempt.outcome != REFUSED):
            self._put_start(task_id, began)
        ended = None if attempt is None else attempt_values(attempt)
        values = (task_id, ended, deaths, spent, micros_or_none(due_at))
        self._writer.put(task_writes.requeued, values, keys=(task_id,))

    def finish(
        self,
        task_id: TaskId,
        outcome: Outcome,
        attempt: AttemptRecord | None,
        finished_at: datetime,
        outbox: OutboxRow | None,
        done: Done,
    ) -> None:
        """Commit the end of a task and its outbox row in one transaction."""
        began = self._begun.pop(task_id, None)
        if began is not None and (attempt is None or attempt.token != began.token):
            self._put_start(task_id, began)
        ended = (
            outcome.status.value,
            outcome.result,
            failure_json(outcome.failure),
            outcome.worker,
            outcome.attempts,
            micros(finished_at),
        )
        self._writer.put(
            task_writes.finish,
            (
                task_id,
                ended,
                None if attempt is None else attempt_values(attempt),
                None if outbox is None else outbox_values(outbox),
                letter_values(outcome, finished_at),
            ),
            keys=(task_id,) if outbox is None else (task_id, outbox.webhook_id),
            size=len(outcome.result or b"") + (0 if outbox is None else len(outbox.body)),
            done=done,
        )

    async def get(self, task_id: TaskId) -> TaskRecord | None:
        """Return a task with its webhook state, or None."""
        if task_id in self._begun:
            await self._note_starts_now()

        def query(connection: sqlite3.Connection) -> TaskRecord | None:
            row = connection.execute(f"{_GET} WHERE t.task_id = ?", (task_id,)).fetchone()
            return None if row is None else record_of(row, attempts_of(connection, row["seq"]))

        return await self._reader.run(query)

    async def list(
        self, chosen: TaskFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[TaskRecord], str | None]:
        """Return a page, newest first, and the cursor of the next one."""
        if self._begun:
            await self._note_starts_now()
        below = decode_cursor(cursor)

        def query(connection: sqlite3.Connection) -> tuple[list[TaskRecord], str | None]:
            sql, values = _listing(chosen, below)
            rows = connection.execute(sql, (*values, limit + 1)).fetchall()
            page = rows[:limit]
            following = encode_cursor(page[-1]["seq"]) if len(rows) > limit and page else None
            return [record_of(row, attempts_of(connection, row["seq"])) for row in page], following

        return await self._reader.run(query)

    async def input(self, task_id: TaskId) -> bytes | None:
        """Return the input of a task that may still run."""

        def query(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(_INPUT, (task_id,)).fetchone()
            return None if row is None else row["input"]

        return await self._reader.run(query)

    async def recover(self, *, after_order: int, limit: int) -> list[StoredTask]:
        """Return unfinished tasks by growing order, a page at a time."""

        def query(connection: sqlite3.Connection) -> list[StoredTask]:
            chosen = {"inline": INLINE_INPUT_LIMIT, "after": after_order, "limit": limit}
            rows = connection.execute(_RECOVER, chosen).fetchall()
            return [stored_of(row, attempts_of(connection, row["seq"])) for row in rows]

        return await self._reader.run(query)

    async def count(self) -> int:
        """Return the number of unfinished tasks."""

        def query(connection: sqlite3.Connection) -> int:
            return connection.execute(_COUNT).fetchone()[0]

        return await self._reader.run(query)

    async def ended(self) -> int:
        """Return the number of ended tasks that are no dead letters."""

        def query(connection: sqlite3.Connection) -> int:
            return connection.execute(_ENDED).fetchone()[0]

        return await self._reader.run(query)

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget tasks that finished before a moment and that nothing else rests on."""
        counted: list[int] = []
        await self._writer.write(task_writes.prune, (micros(before), limit, counted))
        return counted[-1]

    def _put_start(self, task_id: TaskId, attempt: AttemptRecord) -> None:
        values = (task_id, attempt_values(attempt))
        self._writer.put(task_writes.started, values, keys=(task_id,))

    async def _note_starts_now(self) -> None:
        self.note_starts()
        # Neither an outage of writes nor a disk that hangs stops reads.
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(NOTED_S):
                await self._writer.flush()


def _listing(chosen: TaskFilter, below: int | None) -> tuple[str, Sequence[object]]:
    """Return the query of a page; the first condition has the index, the others (+) filter its rows.

    Most tasks succeed, so another status narrows best, then the function, then the group.
    """
    wanted: list[tuple[str, object]] = [
        ("t.status = ?", chosen.status),
        ("t.function = ?", chosen.function),
        ("t.grp = ?", chosen.group),
    ]
    if chosen.status == TaskStatus.SUCCEEDED:
        wanted.append(wanted.pop(0))
    used = [(condition, value) for condition, value in wanted if value is not None]
    conditions = [("+" if place else "") + condition for place, (condition, _) in enumerate(used)]
    values = [value for _, value in used]
    if below is not None:
        conditions.append("t.seq < ?")
        values.append(below)
    where = " WHERE " + " AND ".join(conditions) if conditions else ""
    return f"{_LISTED}{where} ORDER BY t.seq DESC LIMIT ?", values


def shown_of(connection: sqlite3.Connection, seq: int, *, whole: bool) -> TaskRecord:
    """Return a task that is there; without its result unless it is wanted whole."""
    row = connection.execute(f"{_GET if whole else _LISTED} WHERE t.seq = ?", (seq,)).fetchone()
    return record_of(row, attempts_of(connection, seq))


def attempts_of(connection: sqlite3.Connection, seq: int) -> list[AttemptRecord]:
    """Return the attempts of a task in their order."""
    rows = connection.execute(
        f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE task = ? ORDER BY n, started_at, token",
        (seq,),
    )
    return [attempt_of(row) for row in rows]
