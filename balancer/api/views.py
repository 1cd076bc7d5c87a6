"""What the API shows of tasks and lanes: read from the scheduler, the memory and the store."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from balancer.store.recent import record_of

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.core.live_task import LiveTask
    from balancer.engine import Engine
    from balancer.store.ports import Store, TaskFilter
    from balancer.store.recent import Finished
    from shared.clock import Clock
    from shared.ids import TaskId
    from shared.task import TaskRecord
    from shared.task_state import TaskStatus


class TaskViews:
    """Reads tasks wherever they are.

    Args:
        engine: those that are held, and the last that ended.
        store: the durable ones.
        clock: tells how long something has waited.
    """

    def __init__(self, engine: Engine, store: Store, clock: Clock) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock

    async def find(self, task_id: TaskId) -> TaskRecord | None:
        """Return a task from memory or from the store."""
        live = self._engine.scheduler.get(task_id)
        if live is not None and not live.durable:
            return record_of(live, self._engine.wall)
        return self._engine.recent.get(task_id) or await self._store.tasks.get(task_id)

    def remembered(
        self, chosen: TaskFilter, below: tuple[datetime, str] | None, limit: int
    ) -> list[TaskRecord]:
        """Return sync and stream tasks that are held or were among the last to end, newest first.

        Records are made of the few that are shown only: there are ten thousand, and the loop waits.

        Args:
            chosen: which ones.
            below: only those older than this (created_at, id); None for all.
            limit: at most so many.
        """
        wall, recent = self._engine.wall, self._engine.recent
        found: list[tuple[datetime, str, LiveTask, Finished | None]] = [
            (wall.at(task.created_s), task.id, task, None)
            for task in self._engine.scheduler.tasks()
            if not task.durable and _matches(chosen, task, task.status)
        ]
        found += [
            (wall.at(ended.task.created_s), ended.task.id, ended.task, ended)
            for ended in recent
            if _matches(chosen, ended.task, ended.outcome.status)
        ]
        older = found if below is None else [each for each in found if each[:2] < below]
        return [
            record_of(task, wall) if ended is None else recent.record(ended)
            for _, _, task, ended in nlargest(limit, older)
        ]

    async def stored(
        self, chosen: TaskFilter, limit: int, cursor: str | None
    ) -> tuple[list[TaskRecord], str | None]:
        """Return a page of durable tasks, newest first."""
        return await self._store.tasks.list(chosen, limit=limit, cursor=cursor)

    def lanes(self) -> list[dict[str, object]]:
        """Return what waits, by lane."""
        now_s = self._clock.monotonic()
        return [
            {
                "group": lane.lane[0],
                "contract": lane.lane[1],
                "function": lane.lane[2],
                "waiting": lane.waiting,
                "best_priority": lane.best_priority,
                "oldest_wait_s": None if lane.oldest_s is None else round(now_s - lane.oldest_s, 3),
            }
            for lane in self._engine.scheduler.lanes()
        ]


def _matches(chosen: TaskFilter, task: LiveTask, status: TaskStatus) -> bool:
    group, _, function = task.lane
    return (
        chosen.status in (None, status.value)
        and chosen.function in (None, function)
        and chosen.group in (None, group)
    )
