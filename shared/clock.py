"""Time and chance as arguments: the protocols that pure code takes instead of reading the real ones.

The implementations are in `shared/system.py`, a separate module, because an import of it would make
the importer impure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime


class Clock(Protocol):
    """Tells the time."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...

    def utc_now(self) -> datetime:
        """Return the wall clock as an aware UTC datetime; for records, never for deadlines."""
        ...


class Chance(Protocol):
    """A source of randomness; `random.Random` satisfies it."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...
