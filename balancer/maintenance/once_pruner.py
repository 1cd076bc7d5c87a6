"""Forgets the keys that callers named their tasks by, when they expire or become too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.maintenance.periodic import BATCH, INTERVAL_S, again_and_again, in_batches

if TYPE_CHECKING:
    from balancer.store.ports_once import OnceStore
    from shared.clock import Clock


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
        await again_and_again(self.prune, self._interval_s)

    async def prune(self) -> int:
        """Forget all that is due and return how many keys that were.

        Raises:
            Unavailable: the store is out.
        """
        return await in_batches(
            lambda limit: self._once.prune(self._clock.utc_now(), self._keep, limit), self._batch
        )
