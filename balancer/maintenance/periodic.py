"""What every periodic job does alike: it comes again and again, and works in short transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from shared.errors import Unavailable

INTERVAL_S = 60.0
BATCH = 500  # rows a transaction: some milliseconds among everybody else's writes


async def again_and_again(job: Callable[[], Awaitable[int]], interval_s: float) -> None:
    """Do a job until cancelled; while the store is out, the next time is soon enough."""
    while True:
        with suppress(Unavailable):
            await job()
        await asyncio.sleep(interval_s)


async def in_batches(
    forget: Callable[[int], Awaitable[int]], batch: int, most: int | None = None
) -> int:
    """Forget in batches until nothing is left to forget; return how much that was.

    Args:
        forget: forgets up to so many and says how many those were.
        batch: at once.
        most: in all; None for no bound.
    """
    total = 0
    while most is None or total < most:
        limit = batch if most is None else min(batch, most - total)
        count = await forget(limit)
        total += count
        if count < limit:
            break
    return total
