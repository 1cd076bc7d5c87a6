"""The balancer's store in the simulation: the memory store behind group commits that can fail.

Writes gather and are committed together a little later, as the SQLite store does; a batch may fail
as a whole, there are outages, and a balancer that is killed loses the writes that were not committed
(or was killed after the commit, before it heard of it). The shelves underneath are the disk: they
survive, and the next balancer gets them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Protocol

from balancer.store.memory import MemoryStore
from shared.errors import Unavailable

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.store.memory import Shelves
    from balancer.store.ports import (
        Done,
        OrderStore,
        OutboxRow,
        OutboxStore,
        StoredTask,
        TaskFilter,
        TaskStore,
    )
    from balancer.store.ports_dead import DeadStore
    from balancer.store.ports_once import OnceStore
    from shared.ids import TaskId
    from shared.task import AttemptRecord, Outcome, TaskRecord
    from tests.simulation.virtual_time import Process

MIN_COMMIT_S, MAX_COMMIT_S = 0.001, 0.012  # an fsync on a disk that is used by others, too
READ_S = 0.001

Write = tuple[Callable[["Done"], None], "Done"]  # what is written, and who is told


class CommitWitness(Protocol):
    """Who sees what reaches the disk."""

    def accepted_on_disk(self, task_id: TaskId) -> None:
        """Note that a task is kept."""
        ...

    def finished_on_disk(self, task_id: TaskId, outcome: Outcome, *, again: bool) -> None:
        """Note that an end was committed; `again` when the task had ended before."""
        ...


class Disk:
    """What survives the balancer, and how it fails.

    Args:
        shelves: what is kept.
        chance: draws latencies and failures.
        failure_rate: chance that a batch fails.
        witness: sees what is committed.

    Attributes:
        out: an outage: every batch fails, and reads too.
    """

    def __init__(
        self, shelves: Shelves, chance: Random, failure_rate: float, witness: CommitWitness
    ) -> None:
        self.shelves = shelves
        self.chance = chance
        self.failure_rate = failure_rate
        self.witness = witness
        self.out = False
        self.commits = 0
        self.failed = 0


class FaultyStore:
    """The store of one balancer process; implements `balancer.store.ports.Store`."""

    tasks: TaskStore
    outbox: OutboxStore
    orders: OrderStore
    once: OnceStore
    dead: DeadStore

    def __init__(self, disk: Disk, process: Process) -> None:
        inner = MemoryStore(lambda happen: happen(), disk.shelves)
        self._journal = Journal(disk, process)
        self.tasks = FaultyTasks(inner.tasks, disk, self._journal)
        self.outbox = inner.outbox
        self.orders = inner.orders
        self.once = inner.once
        self.dead = inner.dead
        self._disk = disk

    @property
    def healthy(self) -> bool:
        """Tell whether writes go through."""
        return not self._disk.out

    def killed(self) -> None:
        """Lose what was not committed, unless the commit was just through."""
        self._journal.killed()

    async def close(self) -> None:
        """Do nothing: a balancer of the simulation is only ever killed."""


class Journal:
    """Writes that wait for their commit.

    Args:
        disk: where they go.
        process: the balancer, which is told.
    """

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process
        self._waiting: list[Write] = []

    def write(self, apply: Callable[[Done], None], done: Done) -> None:
        """Buffer a write; a commit follows soon."""
        if not self._process.alive:
            return
        self._waiting.append((apply, done))
        if len(self._waiting) == 1:
            delay_s = self._disk.chance.uniform(MIN_COMMIT_S, MAX_COMMIT_S)
            # Of the world, not of the process: a disk goes on while a process is stopped.
            self._process.time.after(delay_s, self._commit)

    def killed(self) -> None:
        """Lose what waits, or commit it without telling anybody."""
        if self._disk.chance.random() < 0.5 and not self._disk.out:
            for apply, _ in self._waiting:
                apply(_told)
        self._waiting.clear()

    def _commit(self) -> None:
        if not self._process.alive:
            return
        batch, self._waiting = self._waiting, []
        self._disk.commits += 1
        if self._disk.out or self._disk.chance.random() < self._disk.failure_rate:
            self._disk.failed += 1
            for _, done in batch:
                self._tell(done, Unavailable("Disk I/O error"))
            return
        for apply, done in batch:
            apply(self._told_by(done))

    def _told_by(self, done: Done) -> Done:
        return lambda error: self._tell(done, error)

    def _tell(self, done: Done, error: Unavailable | None) -> None:
        self._process.soon(lambda: done(error))


def _told(error: Unavailable | None) -> None:
    """Tell nobody."""


class FaultyTasks:
    """Durable tasks over the journal; implements `balancer.store.ports.TaskStore`."""

    def __init__(self, inner: TaskStore, disk: Disk, journal: Journal) -> None:
        self._inner = inner
        self._disk = disk
        self._journal = journal

    def accept(self, task: StoredTask, done: Done) -> None:
        """Keep a new task."""
        kept = replace(task, request=copy(task.request))  # the caller's may change meanwhile

        def apply(told: Done) -> None:
            self._inner.accept(kept, told)
            self._disk.witness.accepted_on_disk(kept.task_id)

        self._journal.write(apply, done)

    def started(self, task_id: TaskId, attempt: AttemptRecord) -> None:
        """Note that an attempt began."""

        def apply(told: Done) -> None:
            self._inner.started(task_id, attempt)
            told(None)

        self._journal.write(apply, _told)

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

        def apply(told: Done) -> None:
            self._inner.requeued(task_id, attempt, deaths=deaths, spent=spent, due_at=due_at)
            told(None)

        self._journal.write(apply, _told)

    def finish(
        self,
        task_id: TaskId,
        outcome: Outcome,
        attempt: AttemptRecord | None,
        finished_at: datetime,
        outbox: OutboxRow | None,
        done: Done,
    ) -> None:
        """Commit the end of a task and its webhook."""
        kept_outcome = replace(outcome)

        def apply(told: Done) -> None:
            kept = self._disk.shelves.tasks.get(task_id)
            again = kept is None or not kept.open
            self._inner.finish(task_id, kept_outcome, attempt, finished_at, outbox, told)
            self._disk.witness.finished_on_disk(task_id, kept_outcome, again=again)

        self._journal.write(apply, done)

    async def get(self, task_id: TaskId) -> TaskRecord | None:
        """Return a task."""
        await self._read()
        return await self._inner.get(task_id)

    async def list(
        self, chosen: TaskFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[TaskRecord], str | None]:
        """Return a page."""
        await self._read()
        return await self._inner.list(chosen, limit=limit, cursor=cursor)

    async def input(self, task_id: TaskId) -> bytes | None:
        """Return the input of a task."""
        await self._read()
        return await self._inner.input(task_id)

    async def recover(self, *, after_order: int, limit: int) -> list[StoredTask]:
        """Return unfinished tasks."""
        await asyncio.sleep(READ_S)
        return await self._inner.recover(after_order=after_order, limit=limit)

    async def count(self) -> int:
        """Return the number of unfinished tasks."""
        return await self._inner.count()

    async def ended(self) -> int:
        """Return the number of ended tasks."""
        return await self._inner.ended()

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget old tasks."""
        return await self._inner.prune(before, limit)

    async def _read(self) -> None:
        """Take a moment, and fail in an outage."""
        await asyncio.sleep(READ_S)
        if self._disk.out:
            raise Unavailable("Disk I/O error")
