"""What of one stream has been passed on, and how much of that its reader has read.

A worker that was cut off sends again what it has no credit for. Such a piece is dropped, and whether
it is to be credited depends on its reader: when it has read the piece, the credit was lost with the
link and is due again; when it has not, the credit comes once it has. Crediting both times would let
the worker forget pieces that are still on their way.
"""

from __future__ import annotations

from bisect import bisect_right


class StreamFlow:
    """The pieces of a stream that its reader has yet to read."""

    __slots__ = ("_ends", "_passed", "_read")

    def __init__(self) -> None:
        self._passed = 0
        self._read = 0
        # Bytes passed on up to each unread piece, itself included. A list: an idle stream has none, and
        # an empty deque takes 600 bytes.
        self._ends: list[int] = []

    @property
    def unread(self) -> int:
        """Return how many of the last pieces have not been read."""
        return len(self._ends)

    def add(self, size: int) -> None:
        """Note a piece that is passed on."""
        self._passed += size
        self._ends.append(self._passed)

    def read(self, size: int) -> None:
        """Note that the reader has read so many bytes more."""
        self._read += size
        del self._ends[: bisect_right(self._ends, self._read)]
