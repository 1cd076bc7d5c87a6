"""Forgets tasks that finished long ago, so that the store does not grow for ever.

A task is kept for RESULT_RETENTION after its end, and longer while its webhook is still to be
delivered or it is a dead letter (`dead_pruner`); past MAX_RESULTS those that ended first go sooner.
Work is done in batches: each is one short transaction among everybody else's writes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from balancer.maintenance.periodic import BATCH, INTERVAL_S, again_and_again, in_batches

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.store.ports import TaskStore
    from shared.clock import Clock

MAX_RESULTS = 1_000_000


class Pruner:
    """Prunes a store now and then.

    Args:
        tasks: the store.
        clock: the wall clock that ends of tasks are on.
        retention_s: how long a finished task is kept.
        keep: how many are kept.
        interval_s: seconds between two looks.
        batch: tasks forgotten in one transaction.
    """

    def __init__(
        self,
        tasks: TaskStore,
        *,
        clock: Clock,
        retention_s: float,
        keep: int = MAX_RESULTS,
        interval_s: float = INTERVAL_S,
        batch: int = BATCH,
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._retention = timedelta(seconds=retention_s)
        self._keep = keep
        self._interval_s = interval_s
        self._batch = batch
        self.pruned = 0

    async def run(self) -> None:
        """Prune until cancelled; while the store is out, the next look is soon enough."""
        await again_and_again(self.prune, self._interval_s)

    async def prune(self) -> int:
        """Forget all that is due and return how many tasks that were.

        Raises:
            Unavailable: the store is out.
        """
        now = self._clock.utc_now()
        total = await self._forget(now - self._retention, None)
        excess = await self._tasks.ended() - self._keep
        return total + await self._forget(now, excess)

    async def _forget(self, before: datetime, most: int | None) -> int:
        async def forget(limit: int) -> int:
            count = await self._tasks.prune(before, limit)
            self.pruned += count
            return count

        return await in_batches(forget, self._batch, most)
