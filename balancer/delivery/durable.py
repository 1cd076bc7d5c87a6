"""Durable tasks between the engine and the store: accepted before answered, committed before acknowledged.

    submit ──accept──▶ store ──committed──▶ queue ──▶ worker ──result──▶ finish ──committed──▶ ack

A result is acknowledged to its worker only after it and its outbox row are committed in one
transaction. Until then the worker keeps it, and so do we: while the store is out, the commit is
tried again, and a result that is offered twice is neither refused nor committed twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from balancer.core.live_task import LiveTask
from balancer.delivery.outbox import outbox_row
from balancer.store.ports import StoredTask
from balancer.store.ports_once import KeyTaken
from balancer.store.recent import current_attempt, record_of
from shared.errors import Failure, failure
from shared.task_state import TERMINAL, TaskStatus

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.delivery.journal import Journal
    from balancer.store.ports import Store
    from balancer.store.ports_once import OnceKey
    from balancer.store.sealing import Sealer
    from shared.errors import Unavailable
    from shared.ids import TaskId, Token
    from shared.task import AttemptRecord, Outcome, Sink

# Inputs past these bounds are left in the store and read again at dispatch.
KEPT_INPUT = 64 * 1024  # bytes of one; what a link carries inside the dispatch itself
KEPT_INPUTS = 64 * 1024**2  # bytes of all
COMMIT_RETRY_S = 0.5  # pause before a failed commit is tried again
SETTLE_S = 5.0  # what a caller waits for the commit of a cancel
RECOVER_PAGE = 1000


class _Ending:
    """A result on its way into the store."""

    __slots__ = ("attempt", "committed", "finished_at", "outcome", "row", "task", "waiters")

    def __init__(
        self, task: LiveTask, outcome: Outcome, attempt: AttemptRecord | None, finished_at: datetime,
        committed: Callable[[], None],
    ) -> None:  # fmt: skip
        self.task = task
        self.outcome = outcome
        self.row = outbox_row(task, outcome, finished_at)
        self.attempt = attempt
        self.finished_at = finished_at
        self.committed = committed
        self.waiters: list[asyncio.Future[None]] = []


class DurableTasks:
    """Keeps durable tasks.

    Args:
        store: an open store.
        journal: keeps the wall clock, and what the log says of the store.
        sealer: seals worker keys.
        max_durable: unfinished durable tasks that may be kept.
        accepted: takes a task as soon as it is committed, whether or not its caller still waits.
    """

    def __init__(
        self, store: Store, journal: Journal, sealer: Sealer, max_durable: int,
        accepted: Callable[[LiveTask], None],
    ) -> None:  # fmt: skip
        self._store = store
        self._journal = journal
        self._wall = journal.wall
        self._sealer = sealer
        self._max_durable = max_durable
        self._accepted = accepted
        self._unfinished = 0
        self._quarantined = 0  # set aside, and kept until an operator says what becomes of them
        self._held_bytes = 0
        self._order = 0
        self._endings: dict[str, _Ending] = {}  # by task id: committed one at a time each
        self._tokens: set[Token] = set()
        self._retries: set[asyncio.TimerHandle] = set()
        self._closed = False

    @property
    def unfinished(self) -> int:
        """Return the number of durable tasks that have not ended."""
        return self._unfinished

    async def accept(self, task: LiveTask, once: OnceKey | None = None) -> Failure | None:
        """Commit a new task, and its key; None means that it survives a power cut from now on."""
        stored = self._stored(task, self._order + 1, once)
        order = self.reserve()
        if isinstance(order, Failure):
            return order
        answer: asyncio.Future[Unavailable | None] = asyncio.get_running_loop().create_future()

        def done(error: Unavailable | None) -> None:
            # Not in the caller's coroutine: it may have been cancelled meanwhile. Then nobody was told
            # that the task was accepted, but the store says that it was, so it must run.
            if error is None:
                self._journal.store_works()
                self._leave_input(task)
                self._accepted(task)
            else:
                if not isinstance(error, KeyTaken):
                    self._journal.store_failed(task, error)
                self.unreserve()
            if not answer.cancelled():
                answer.set_result(error)

        self._store.tasks.accept(stored, done)
        error = await answer
        if isinstance(error, KeyTaken):
            return error.failure
        return None if error is None else failure("store_unavailable", retry_after_s=1)

    def reserve(self) -> int | Failure:
        """Count a task that is about to be committed as unfinished; return its place, or why it has none."""
        if self._unfinished + self._quarantined >= self._max_durable:
            return failure("queue_full", retry_after_s=5)
        self._unfinished += 1
        self._order += 1
        return self._order

    def unreserve(self) -> None:
        """Forget a task that was not committed."""
        self._unfinished -= 1

    def left_quarantine(self, count: int = 1, *, released: bool = False) -> None:
        """Note that quarantined tasks are unfinished again, or given up."""
        self._quarantined -= count
        self._unfinished += count if released else 0

    def started(self, task: LiveTask) -> None:
        """Note that an attempt began."""
        attempt = current_attempt(task, self._wall)
        if attempt is not None:
            self._store.tasks.started(task.id, attempt)

    def requeued(self, task: LiveTask, ended: AttemptRecord | None) -> None:
        """Note that an attempt ended without ending the task."""
        due_at = None if task.due_s is None else self._wall.at(task.due_s)
        self._store.tasks.requeued(
            task.id, ended, deaths=task.deaths, spent=task.attempts, due_at=due_at
        )

    def finish(
        self, task: LiveTask, outcome: Outcome, finished_s: float, committed: Callable[[], None]
    ) -> None:
        """Commit the end of a task with its outbox row; tried until the store takes it."""
        attempt = current_attempt(task, self._wall, outcome, finished_s)
        if not task.input_stored:
            self._held_bytes -= len(task.request.input)
        ending = _Ending(task, outcome, attempt, self._wall.at(finished_s), committed)
        self._endings[task.id] = ending
        if task.token is not None:
            self._tokens.add(task.token)
        self._commit(ending)

    def ending(self, task_id: TaskId) -> bool:
        """Tell whether the end of a task is on its way into the store."""
        return task_id in self._endings

    def committing(self, token: Token) -> bool:
        """Tell whether the result of an attempt is on its way into the store."""
        return token in self._tokens

    async def settled(self, task_id: TaskId) -> bool:
        """Wait until the end of a task is committed; False when that takes too long."""
        ending = self._endings.get(task_id)
        if ending is None:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ending.waiters.append(waiter)
        try:
            async with asyncio.timeout(SETTLE_S):
                await waiter
        except TimeoutError:
            return False
        return True

    async def input(self, task: LiveTask) -> bytes | None:
        """Return the input that was left in the store; None when it cannot be read now."""
        return await self._store.tasks.input(task.id)

    async def recover(self, sink: Sink) -> list[LiveTask]:
        """Return every unfinished task of the store, in order, as it goes back to its queue."""
        found: list[LiveTask] = []
        while True:
            page = await self._store.tasks.recover(after_order=self._order, limit=RECOVER_PAGE)
            if not page:
                self._unfinished = len(found)
                self._quarantined = (await self._store.dead.counts()).quarantine
                return found
            self._order = page[-1].order
            found += (self.revived(stored, sink) for stored in page)

    def revived(self, stored: StoredTask, sink: Sink) -> LiveTask:
        """Return a task of the store as it goes (back) to its queue."""
        assert stored.record.status not in TERMINAL
        key = self._sealer.open(stored.request.worker_key)
        request = structs.replace(stored.request, worker_key=key)
        lane = (request.group, request.contract, request.function)

        task = LiveTask(
            stored.task_id, lane, request, sink,
            created_s=self._wall.mono_s_of(stored.created_at), durable=True,
            deadline_s=None if stored.deadline_at is None else self._wall.mono_s_of(stored.deadline_at),
            input_stored=not request.input,
        )  # fmt: skip
        task.attempts, task.number, task.deaths = stored.spent, stored.number, stored.deaths
        task.history = list(stored.record.attempts) or None
        if stored.due_at is not None:
            task.due_s = self._wall.mono_s_of(stored.due_at)
        if not task.input_stored:
            self._leave_input(task)
        return task

    def close(self) -> None:
        """Stop trying; what is not committed is offered again by its worker after the restart."""
        self._closed = True
        for handle in self._retries:
            handle.cancel()
        self._retries.clear()

    # Private

    def _commit(self, ending: _Ending) -> None:
        task = ending.task

        def done(error: Unavailable | None) -> None:
            if error is None:
                self._committed(ending)
            elif not self._closed:
                self._journal.store_failed(task, error)
                self._try_again(ending)

        self._store.tasks.finish(
            task.id, ending.outcome, ending.attempt, ending.finished_at, ending.row, done
        )

    def _committed(self, ending: _Ending) -> None:
        self._journal.store_works()
        self._unfinished -= 1
        self._quarantined += ending.outcome.status is TaskStatus.QUARANTINED
        self._endings.pop(ending.task.id, None)
        if ending.task.token is not None:
            self._tokens.discard(ending.task.token)
        for waiter in ending.waiters:
            if not waiter.done():
                waiter.set_result(None)
        try:
            ending.committed()
        finally:  # whatever breaks there, the webhook goes out now
            if ending.row is not None:
                self._store.outbox.fresh(ending.row)

    def _try_again(self, ending: _Ending) -> None:
        def again() -> None:
            self._retries.discard(handle)
            self._commit(ending)

        handle = asyncio.get_running_loop().call_later(COMMIT_RETRY_S, again)
        self._retries.add(handle)

    def _leave_input(self, task: LiveTask) -> None:
        size = len(task.request.input)
        if size <= KEPT_INPUT and self._held_bytes + size <= KEPT_INPUTS:
            self._held_bytes += size
            return
        task.request.input = b""
        task.input_stored = True
        task.size -= size  # it waits in the store, not in memory

    def _stored(self, task: LiveTask, order: int, once: OnceKey | None) -> StoredTask:
        deadline = None if task.deadline_s is None else self._wall.at(task.deadline_s)
        record = record_of(task, self._wall)
        if task.due_s is not None:
            record = replace(record, status=TaskStatus.SCHEDULED)
        return StoredTask(
            task_id=task.id,
            request=structs.replace(
                task.request,
                group=task.lane[0],
                worker_key=self._sealer.seal(task.request.worker_key),
            ),
            created_at=self._wall.at(task.created_s),
            deadline_at=deadline,
            due_at=None if task.due_s is None else self._wall.at(task.due_s),
            order=order,
            record=record,
            once=once,
        )
