"""A service: watches how late the worker's event loop wakes, and tells in `/health`."""

from __future__ import annotations

import asyncio

from cabrank import service

_MAX_LATE_S = 5.0  # a loop that is this late serves nobody


@service
class Clock:
    """Tick, and measure how late each tick comes.

    Args:
        interval_s: seconds between two ticks.
    """

    def __init__(self, interval_s: float = 1.0) -> None:
        self._interval_s = interval_s
        self._ticks = 0
        self._late_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to tick."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop ticking."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def status(self) -> object:
        """Return the number of ticks and how late the last one was; False when it does not tick."""
        if self._task is None or self._task.done() or self._late_s > _MAX_LATE_S:
            return False
        return {"ticks": self._ticks, "late_ms": round(self._late_s * 1000, 1)}

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval_s
            await asyncio.sleep(self._interval_s)
            self._ticks += 1
            self._late_s = max(0.0, loop.time() - due)
