"""The trace of a world: a running digest of everything that happens, and its last steps as text."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.virtual_time import VirtualTime

KEPT = 50


class Trace:
    """What happened, in order.

    Args:
        time: the world's.
    """

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._digest = blake2b(digest_size=16)
        self._last: deque[str] = deque(maxlen=KEPT)
        self.length = 0

    def note(self, *what: object) -> None:
        """Add a step."""
        line = f"{self._time.now_s:.6f} {' '.join(map(str, what))}"
        self._digest.update(line.encode())
        self._last.append(line)
        self.length += 1

    @property
    def digest(self) -> str:
        """Return what is equal for equal traces only."""
        return self._digest.hexdigest()

    def last(self) -> list[str]:
        """Return the last steps, the latest last."""
        return list(self._last)
