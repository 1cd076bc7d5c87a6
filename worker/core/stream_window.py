"""How much of a stream may be on its way, and what must be sent again after a cut.

The reader grants credit in bytes; a piece may start while any is left, so that one piece larger than
the credit still gets through. Pieces that the reader has not yet paid for with credit are kept: after
a cut nobody knows which of them arrived, so they are offered again on the new link under the same
numbers, and the reader drops the ones that it has.

    sent − granted  ≤  size of one piece          kept = the pieces above what was granted back
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from shared.task import Piece

if TYPE_CHECKING:
    from shared.task import PieceKind


class StreamWindow:
    """The pieces of one attempt between their making and their reading.

    Args:
        credit: bytes that may be sent before the reader grants more.
    """

    __slots__ = ("_consumed", "_credit", "_ends", "_kept", "_sent", "seq")

    def __init__(self, credit: int) -> None:
        self.seq = 0  # number of the last piece
        self._credit = credit
        self._sent = 0
        self._consumed = 0
        self._kept: deque[Piece] = deque()
        self._ends: deque[int] = deque()  # the bytes sent up to each kept piece, itself included

    @property
    def open(self) -> bool:
        """Tell whether another piece may be sent now."""
        return self._sent - self._consumed < self._credit

    def add(self, kind: PieceKind, data: bytes) -> Piece:
        """Number a piece and count it; the caller waited for `open`, or it is one that never waits."""
        self.seq += 1
        piece = Piece(self.seq, kind, data)
        self._sent += len(data)
        self._kept.append(piece)
        self._ends.append(self._sent)
        return piece

    def grant(self, size: int) -> None:
        """Take the reader's word that it consumed so many bytes more."""
        self._consumed = min(self._sent, self._consumed + max(0, size))
        while self._ends and self._ends[0] <= self._consumed:
            self._ends.popleft()
            self._kept.popleft()

    def kept(self) -> list[Piece]:
        """Return the pieces that the reader may not have, oldest first."""
        return list(self._kept)
