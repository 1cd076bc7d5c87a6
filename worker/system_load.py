"""The load of the machine, as `/health` shows it: read at most once a second, whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from shared.clock import Clock

MAX_AGE_S = 1.0  # several balancers and dashboards ask; reading costs a few system calls


class SystemLoad:
    """Reads uptime, memory and load.

    Args:
        clock: tells how old the last reading is; the uptime counts from here.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_s = clock.monotonic()
        self._read_s = 0.0
        self._last: dict[str, float] = {}

    def read(self) -> dict[str, float]:
        """Return `uptime` of the worker in seconds, `usedMemoryPercent` and `cpuLoad` (1 minute)."""
        now_s = self._clock.monotonic()
        if not self._last or now_s - self._read_s >= MAX_AGE_S:
            self._read_s = now_s
            self._last = {
                "usedMemoryPercent": round(psutil.virtual_memory().percent, 1),
                "cpuLoad": round(psutil.getloadavg()[0], 3),
            }
        return {"uptime": round(now_s - self._started_s, 3), **self._last}
