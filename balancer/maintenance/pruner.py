"""Forgets tasks that finished long ago, so that the store does not grow for ever.

A task is kept for RESULT_RETENTION after its end, and longer while its webhook is still to be
delivered or it is a dead letter (`dead_pruner`); past MAX_RESULTS those that ended first go sooner.
Work is done in batches: each is one short transaction among everybody else's writes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import Unavailable

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.store.ports import TaskStore
    from shared.clock import Clock

INTERVAL_S = 60.0
MAX_RESULTS = 1_000_000
BATCH = 500  # tasks a transaction: some milliseconds


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
        while True:
            with suppress(Unavailable):
                await self.prune()
            await asyncio.sleep(self._interval_s)

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
        """Forget tasks in batches; at most so many, those first that ended first."""
        total = 0
        while most is None or total < most:
            limit = self._batch if most is None else min(self._batch, most - total)
            count = await self._tasks.prune(before, limit)
            total += count
            self.pruned += count
            if count < limit:
                break
        return total
