"""Dead letters in memory."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import structs

from balancer.store.cursor import decode_cursor, encode_cursor
from balancer.store.memory.shelves import KeptLetter, KeptTask
from balancer.store.memory.tasks import recovered, shown
from balancer.store.ports import OutboxRow, StoredTask
from balancer.store.ports_dead import DeadCounts, DeadFilter, DeadLetter, DeadWebhook, Renewal
from shared.dead_letter import DeadKind
from shared.task_state import TaskEvent, TaskStatus, after

if TYPE_CHECKING:
    from balancer.store.memory.desk import Desk
    from shared.ids import TaskId


class MemoryDead:
    """Letters on the shelves of a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shelves = desk.shelves

    async def list(
        self, chosen: DeadFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[DeadLetter], str | None]:
        """Return a page, newest first, and the cursor of the next one."""
        below = decode_cursor(cursor)
        self._desk.check_reading()
        found = [
            letter
            for letter in reversed(self._shelves.letters.values())
            if (below is None or letter.place < below) and self._matches(letter, chosen)
        ]
        page = found[:limit]
        following = encode_cursor(page[-1].place) if len(found) > limit and page else None
        letters = [self._shown(letter) for letter in page]
        return [replace(each, task=replace(each.task, result=None)) for each in letters], following

    async def get(self, letter_id: str) -> DeadLetter | None:
        """Return a letter with its task's result, or None."""
        self._desk.check_reading()
        letter = self._shelves.letters.get(letter_id)
        return None if letter is None else self._shown(letter)

    async def counts(self) -> DeadCounts:
        """Return how many there are."""
        self._desk.check_reading()
        return _counted(self._shelves.letters.values())

    async def replay_task(self, letter_id: str, renewal: Renewal) -> StoredTask | None:
        """Put a new task with the same request in the place of a letter."""
        old = self._taken(letter_id, DeadKind.TASK)
        if old is None:
            return None
        stored = old.stored
        new = _again(stored, renewal)
        _empty(old)
        self._shelves.places += 1
        self._shelves.tasks[new.task_id] = KeptTask(self._shelves.places, new)
        return recovered(new)

    async def replay_webhook(self, letter_id: str, at: datetime) -> OutboxRow | None:
        """Make a webhook pending again under its id."""
        if self._taken(letter_id, DeadKind.WEBHOOK) is None:
            return None
        kept = self._shelves.webhooks[letter_id]
        kept.status, kept.settled_at, kept.error = "pending", None, ""
        kept.row = replace(kept.row, attempts=0, next_at=at)
        return kept.row

    async def release(self, task_id: TaskId, at: datetime) -> StoredTask | None:
        """Put a quarantined task back among the unfinished."""
        kept = self._taken(task_id, DeadKind.QUARANTINE)
        if kept is None:
            return None
        record = replace(
            kept.stored.record,
            status=after(kept.stored.record.status, TaskEvent.RELEASED),
            finished_at=None, failure=None, result=None, worker=None,
        )  # fmt: skip
        deadline_at = _deadline(kept.stored, at)
        kept.stored = replace(kept.stored, record=record, deaths=0, deadline_at=deadline_at)
        return recovered(kept.stored)

    async def purge(self, chosen: DeadFilter, limit: int) -> DeadCounts:
        """Forget letters, oldest first."""
        self._desk.check_writing()
        letters = [each for each in self._shelves.letters.values() if self._matches(each, chosen)]
        gone = letters[:limit]
        for letter in gone:
            del self._shelves.letters[letter.letter_id]
            kept = self._shelves.tasks[letter.task_id]
            if letter.kind is DeadKind.WEBHOOK:
                webhook = self._shelves.webhooks[letter.letter_id]
                webhook.row = replace(webhook.row, body=b"")
            else:
                _empty(kept)
            if letter.kind is DeadKind.QUARANTINE:
                status = after(kept.stored.record.status, TaskEvent.FAILED)
                record = replace(kept.stored.record, status=status)
                kept.stored = replace(kept.stored, record=record)
        return _counted(gone)

    def _taken(self, letter_id: str, kind: DeadKind) -> KeptTask | None:
        """Take a letter away and return its task; None when there is none of the kind."""
        self._desk.check_writing()
        letter = self._shelves.letters.get(letter_id)
        if letter is None or letter.kind is not kind:
            return None
        del self._shelves.letters[letter_id]
        return self._shelves.tasks[letter.task_id]

    def _shown(self, letter: KeptLetter) -> DeadLetter:
        webhook: DeadWebhook | None = None
        if letter.kind is DeadKind.WEBHOOK:
            kept = self._shelves.webhooks[letter.letter_id]
            row = kept.row
            webhook = DeadWebhook(
                host=row.host, attempts=row.attempts, error=kept.error, outcome=row.outcome
            )
        return DeadLetter(
            letter_id=letter.letter_id,
            kind=letter.kind,
            died_at=letter.died_at,
            code=letter.code,
            task=shown(self._shelves.tasks[letter.task_id], self._shelves),
            webhook=webhook,
        )

    def _matches(self, letter: KeptLetter, chosen: DeadFilter) -> bool:
        record = self._shelves.tasks[letter.task_id].stored.record
        return (
            chosen.letter_id in (None, letter.letter_id)
            and (not chosen.kinds or letter.kind in chosen.kinds)
            and chosen.function in (None, record.function)
            and chosen.group in (None, record.group)
            and chosen.code in (None, letter.code)
            and (chosen.since is None or letter.died_at >= chosen.since)
            and (chosen.before is None or letter.died_at < chosen.before)
        )


def _again(old: StoredTask, renewal: Renewal) -> StoredTask:
    """Return a new task with the request of one that is dead."""
    record = replace(
        old.record, task_id=renewal.task_id, status=TaskStatus.QUEUED, created_at=renewal.at,
        started_at=None, finished_at=None, attempts=(), worker=None, result=None, failure=None,
        webhook=None, due_at=None, replay_of=old.task_id,
    )  # fmt: skip
    return StoredTask(
        task_id=renewal.task_id,
        request=structs.replace(old.request, delay_s=None, run_at=None),
        created_at=renewal.at,
        deadline_at=_deadline(old, renewal.at),
        order=renewal.order,
        record=record,
    )


def _deadline(stored: StoredTask, at: datetime) -> datetime | None:
    limit_s = stored.request.deadline_s
    return None if limit_s is None else at + timedelta(seconds=limit_s)


def _empty(kept: KeptTask) -> None:
    """Drop what a task needs to run."""
    request = structs.replace(copy(kept.stored.request), input=b"", worker_key=None, webhook=None)
    kept.stored = replace(kept.stored, request=request)


def _counted(letters: Iterable[KeptLetter]) -> DeadCounts:
    numbers = dict.fromkeys(DeadKind, 0)
    for letter in letters:
        numbers[letter.kind] += 1
    return DeadCounts(*numbers.values())
