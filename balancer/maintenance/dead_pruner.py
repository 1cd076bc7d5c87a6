"""Forgets dead letters: those that are older than DEAD_RETENTION, and the oldest past MAX_DEAD.

A quarantined task has not ended: it waits for a person, and is never forgotten here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from balancer.maintenance.periodic import BATCH, INTERVAL_S, again_and_again, in_batches
from balancer.store.ports_dead import DeadFilter
from shared.dead_letter import ENDED_KINDS

if TYPE_CHECKING:
    from balancer.store.ports_dead import DeadStore
    from shared.clock import Clock


class DeadPruner:
    """Prunes dead letters now and then.

    Args:
        dead: the letters.
        clock: the wall clock that their deaths are on.
        retention_s: how long one is kept.
        keep: how many are kept.
        interval_s: seconds between two looks.
        batch: letters forgotten in one transaction.
    """

    def __init__(
        self,
        dead: DeadStore,
        *,
        clock: Clock,
        retention_s: float,
        keep: int,
        interval_s: float = INTERVAL_S,
        batch: int = BATCH,
    ) -> None:
        self._dead = dead
        self._clock = clock
        self._retention = timedelta(seconds=retention_s)
        self._keep = keep
        self._interval_s = interval_s
        self._batch = batch

    async def run(self) -> None:
        """Prune until cancelled; while the store is out, the next look is soon enough."""
        await again_and_again(self.prune, self._interval_s)

    async def prune(self) -> int:
        """Forget all that is due and return how many letters that were.

        Raises:
            Unavailable: the store is out.
        """
        before = self._clock.utc_now() - self._retention
        total = await self._forget(DeadFilter(kinds=ENDED_KINDS, before=before), None)
        counts = await self._dead.counts()
        excess = counts.task + counts.webhook - self._keep
        return total + await self._forget(DeadFilter(kinds=ENDED_KINDS), excess)

    async def _forget(self, chosen: DeadFilter, most: int | None) -> int:
        async def forget(limit: int) -> int:
            return (await self._dead.purge(chosen, limit)).total

        return await in_batches(forget, self._batch, most)
