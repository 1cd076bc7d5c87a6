"""Durable tasks in memory."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import structs

from balancer.store.cursor import decode_cursor, encode_cursor
from balancer.store.memory.shelves import KeptTask, KeptWebhook
from balancer.store.ports import (
    INLINE_INPUT_LIMIT,
    MAX_ATTEMPTS_KEPT,
    REFUSED,
    Done,
    OutboxRow,
    StoredTask,
    TaskFilter,
)
from balancer.store.ports_once import KeyTaken
from shared.dead_letter import dead_kind
from shared.task import AttemptRecord, Outcome, TaskRecord, WebhookState
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from balancer.store.memory.desk import Desk
    from balancer.store.memory.shelves import Shelves
    from shared.ids import TaskId


class MemoryTasks:
    """Tasks on the shelves of a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shelves = desk.shelves

    def accept(self, task: StoredTask, done: Done) -> None:
        """Keep a new task."""
        # A copy, as a database would make: the request may change in its owner's hands.
        kept = replace(task, request=copy(task.request))

        taken = False

        def apply() -> None:
            nonlocal taken
            taken = not self._claimed(kept)
            if not taken and kept.task_id not in self._shelves.tasks:
                self._shelves.places += 1
                self._shelves.tasks[kept.task_id] = KeptTask(self._shelves.places, kept)

        self._desk.write(apply, lambda error: done(KeyTaken() if taken else error))

    def started(self, task_id: TaskId, attempt: AttemptRecord) -> None:
        """Note that an attempt began."""

        def change(stored: StoredTask) -> StoredTask:
            record = replace(
                stored.record,
                status=TaskStatus.RUNNING,
                started_at=stored.record.started_at or attempt.started_at,
                worker=attempt.worker,
                attempts=_with(stored.record.attempts, attempt),
            )
            return replace(stored, record=record, number=max(stored.number, attempt.n), due_at=None)

        self._desk.write(lambda: self._change(task_id, change))

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

        def change(stored: StoredTask) -> StoredTask:
            record = replace(
                stored.record,
                status=TaskStatus.QUEUED if due_at is None else TaskStatus.SCHEDULED,
                worker=None,
                attempts=_with(stored.record.attempts, attempt),
            )
            return replace(stored, record=record, deaths=deaths, spent=spent, due_at=due_at)

        self._desk.write(lambda: self._change(task_id, change))

    def finish(
        self,
        task_id: TaskId,
        outcome: Outcome,
        attempt: AttemptRecord | None,
        finished_at: datetime,
        outbox: OutboxRow | None,
        done: Done,
    ) -> None:
        """Keep the end of a task and its webhook."""
        status, result, failure = outcome.status, outcome.result, outcome.failure
        worker, spent = outcome.worker, outcome.attempts

        def change(stored: StoredTask) -> StoredTask:
            began = None if attempt is None else attempt.started_at
            record = replace(
                stored.record,
                status=status,
                started_at=stored.record.started_at or began,
                result=result,
                failure=failure,
                worker=worker or stored.record.worker,
                finished_at=finished_at,
                attempts=_with(stored.record.attempts, attempt),
            )
            request, kind = stored.request, dead_kind(status)
            if kind is not None:  # it keeps what it needs to run again
                code = status.value if failure is None else failure.code
                self._shelves.bury(task_id, kind, task_id, finished_at, code)
            else:
                request = structs.replace(request, input=b"", worker_key=None, webhook=None)
            if outbox is not None:
                self._shelves.webhooks[outbox.webhook_id] = KeptWebhook(outbox)
            number = max(stored.number, 0 if attempt is None else attempt.n)
            return replace(
                stored, record=record, request=request, spent=spent, number=number, due_at=None
            )

        self._desk.write(lambda: self._change(task_id, change), done)

    async def get(self, task_id: TaskId) -> TaskRecord | None:
        """Return a task with its webhook state, or None."""
        self._desk.check_reading()
        kept = self._shelves.tasks.get(task_id)
        return None if kept is None else shown(kept, self._shelves)

    async def list(
        self, chosen: TaskFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[TaskRecord], str | None]:
        """Return a page, newest first, and the cursor of the next one."""
        below = decode_cursor(cursor)
        self._desk.check_reading()
        found = [
            kept
            for kept in reversed(self._shelves.tasks.values())
            if (below is None or kept.place < below) and _matches(kept.stored.record, chosen)
        ]
        page = found[:limit]
        following = encode_cursor(page[-1].place) if len(found) > limit and page else None
        return [replace(shown(kept, self._shelves), result=None) for kept in page], following

    async def input(self, task_id: TaskId) -> bytes | None:
        """Return the input of a task that may still run."""
        self._desk.check_reading()
        kept = self._shelves.tasks.get(task_id)
        if kept is None or not (kept.open or kept.stored.record.status is TaskStatus.QUARANTINED):
            return None
        return kept.stored.request.input

    async def recover(self, *, after_order: int, limit: int) -> list[StoredTask]:
        """Return unfinished tasks by growing order, a page at a time."""
        self._desk.check_reading()
        waiting = sorted(
            (
                kept
                for kept in self._shelves.tasks.values()
                if kept.open and kept.stored.order > after_order
            ),
            key=lambda kept: (kept.stored.order, kept.place),
        )
        if not waiting[:limit]:
            return []
        last = waiting[:limit][-1].stored.order
        return [recovered(kept.stored) for kept in waiting if kept.stored.order <= last]

    async def count(self) -> int:
        """Return the number of unfinished tasks."""
        self._desk.check_reading()
        return sum(kept.open for kept in self._shelves.tasks.values())

    async def ended(self) -> int:
        """Return the number of ended tasks that are no dead letters."""
        self._desk.check_reading()
        dead = {letter.task_id for letter in self._shelves.letters.values()}
        tasks = self._shelves.tasks.items()
        return sum(not kept.open and task_id not in dead for task_id, kept in tasks)

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget tasks that finished before a moment and that nothing else rests on."""
        self._desk.check_writing()
        pending = {
            kept.row.task_id for kept in self._shelves.webhooks.values() if kept.status == "pending"
        }
        pending |= {once.task_id for once in self._shelves.once.values()}
        pending |= {letter.task_id for letter in self._shelves.letters.values()}
        ended = [
            (kept.stored.record.finished_at, task_id)
            for task_id, kept in self._shelves.tasks.items()
            if kept.stored.record.finished_at is not None and task_id not in pending
        ]
        old = {task_id for at, task_id in sorted(ended)[:limit] if at < before}
        for task_id in old:
            del self._shelves.tasks[task_id]
        for webhook_id in [
            i for i, kept in self._shelves.webhooks.items() if kept.row.task_id in old
        ]:
            del self._shelves.webhooks[webhook_id]
        return len(old)

    def _claimed(self, task: StoredTask) -> bool:
        """Keep the key of a task, if it has one; False when that stands for another task."""
        once = task.once
        if once is None:
            return True
        holder = self._shelves.once.get((once.owner, once.key))
        if holder is not None and holder.expires_at > task.created_at:
            return holder.task_id == task.task_id
        self._shelves.once[once.owner, once.key] = once
        return True

    def _change(self, task_id: TaskId, change: Callable[[StoredTask], StoredTask]) -> None:
        """Change a task that has not finished; one that has stays as it was."""
        kept = self._shelves.tasks.get(task_id)
        if kept is not None and kept.open:
            kept.stored = change(kept.stored)


def _with(
    attempts: tuple[AttemptRecord, ...], attempt: AttemptRecord | None
) -> tuple[AttemptRecord, ...]:
    """Add an attempt or its end."""
    if attempt is None:
        return attempts
    if attempt.outcome == REFUSED:
        return tuple(each for each in attempts if each.token != attempt.token)
    by_token = {each.token: each for each in attempts}
    known = by_token.get(attempt.token)
    ended = attempt
    if known is not None:
        ended = replace(
            known, finished_at=attempt.finished_at, outcome=attempt.outcome, code=attempt.code
        )
    by_token[attempt.token] = ended
    kept = [each for each in by_token.values() if each.n > attempt.n - MAX_ATTEMPTS_KEPT]
    return tuple(sorted(kept, key=lambda each: (each.n, each.started_at, each.token)))


def shown(kept: KeptTask, shelves: Shelves) -> TaskRecord:
    """Return a task as callers see it."""
    webhook = shelves.webhook_of(kept.stored.task_id)
    record = replace(kept.stored.record, due_at=kept.stored.due_at)
    if webhook is None:
        return record
    next_at = webhook.row.next_at if webhook.status == "pending" else None
    state = WebhookState(status=webhook.status, attempts=webhook.row.attempts, next_at=next_at)
    return replace(record, webhook=state)


def recovered(stored: StoredTask) -> StoredTask:
    """Return a task as it goes back to its queue: without a large input."""
    if len(stored.request.input) <= INLINE_INPUT_LIMIT:
        return replace(stored, request=copy(stored.request))
    return replace(stored, request=structs.replace(stored.request, input=b""))


def _matches(record: TaskRecord, chosen: TaskFilter) -> bool:
    return (
        chosen.status in (None, record.status)
        and chosen.function in (None, record.function)
        and chosen.group in (None, record.group)
    )
