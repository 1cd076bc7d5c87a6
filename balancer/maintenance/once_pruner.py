"""Forgets the keys that callers named their tasks by, when they expire or become too many."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.errors import Unavailable

if TYPE_CHECKING:
    from balancer.store.ports_once import OnceStore
    from shared.clock import Clock

INTERVAL_S = 60.0
BATCH = 500  # keys a transaction: some milliseconds


class OncePruner:
    """Prunes keys now and then.

    Args:
        once: the store.
        clock: the wall clock that keys expire on.
        keep: keys that are kept; past it the oldest are forgotten before they expire.
        interval_s: seconds between two looks.
        batch: keys forgotten in one transaction.
    """

    def __init__(
        self,
        once: OnceStore,
        *,
        clock: Clock,
        keep: int,
        interval_s: float = INTERVAL_S,
        batch: int = BATCH,
    ) -> None:
        self._once = once
        self._clock = clock
        self._keep = keep
        self._interval_s = interval_s
        self._batch = batch

    async def run(self) -> None:
        """Prune until cancelled; while the store is out, the next look is soon enough."""
        while True:
            with suppress(Unavailable):
                await self.prune()
            await asyncio.sleep(self._interval_s)

    async def prune(self) -> int:
        """Forget all that is due and return how many keys that were.

        Raises:
            Unavailable: the store is out.
        """
        total = 0
        while True:
            count = await self._once.prune(self._clock.utc_now(), self._keep, self._batch)
            total += count
            if count < self._batch:
                return total
