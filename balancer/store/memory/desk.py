"""What the parts of the memory store share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.errors import Unavailable

if TYPE_CHECKING:
    from balancer.store.memory.shelves import Shelves
    from balancer.store.ports import Done

Defer = Callable[[Callable[[], None]], object]


class Desk:
    """What the parts share: the shelves, whether they can be reached, and how answers are given.

    Args:
        shelves: what is kept.
        defer: calls back soon, in order; `loop.call_soon` in a process.

    Attributes:
        outage: why writes fail; None while they do not.
        closed: reads fail too.
    """

    def __init__(self, shelves: Shelves, defer: Defer) -> None:
        self.shelves = shelves
        self.outage: str | None = None
        self.closed = False
        self._defer = defer

    def write(self, apply: Callable[[], object], done: Done | None = None) -> None:
        """Apply a write, unless there is an outage, and report it later."""
        error = None if self.outage is None else Unavailable(self.outage)
        if error is None:
            apply()
        if done is not None:
            self._defer(lambda: done(error))

    def check_writing(self) -> None:
        """Raise when writes do not go through.

        Raises:
            Unavailable: they do not.
        """
        if self.outage is not None:
            raise Unavailable(self.outage)

    def check_reading(self) -> None:
        """Raise when the store is closed; an outage of writes does not stop reads.

        Raises:
            Unavailable: it is.
        """
        if self.closed:
            raise Unavailable("Store is closed")
