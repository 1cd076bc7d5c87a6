"""What the API shows of tasks and lanes: read from the scheduler, the memory and the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.store.recent import record_of

if TYPE_CHECKING:
    from balancer.engine import Engine
    from balancer.store.ports import Store, TaskFilter
    from shared.clock import Clock
    from shared.ids import TaskId
    from shared.task import TaskRecord


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

    def remembered(self) -> list[TaskRecord]:
        """Return the sync and stream tasks that are held, and the last that ended."""
        wall = self._engine.wall
        running = [task for task in self._engine.scheduler.tasks() if not task.durable]
        return [*(record_of(task, wall) for task in running), *self._engine.recent.newest()]

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
