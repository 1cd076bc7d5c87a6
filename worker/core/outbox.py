"""Results on their way into safe hands: kept until a balancer acknowledges them.

A durable result is kept until somebody acknowledges it, whoever that is. A sync or stream result is
of use only to the balancer whose caller waits, so it goes when that balancer has been away for too
long or has started anew. Nothing durable is ever dropped for want of room: when the outbox is full
it says so, the worker gives links no slot, and at most `limit` results more come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.protocol.messages import Finished
    from shared.task import Piece

MAX_RESULTS = 10_000  # at a kilobyte each, what a balancer that restarts for a minute leaves behind
MAX_RESULT_BYTES = 64 * 1024 * 1024
ENTRY_BYTES = 500  # what an entry costs beside its result


class Entry:
    """One unacknowledged result.

    Attributes:
        finished: the message.
        result: JSON text; None when the function returned nothing or failed.
        attempt: number of the attempt, for display.
        durable: kept until somebody acknowledges it.
        balancer: id of the balancer that dispatched the attempt.
        function: name of the function.
        pieces: of its stream, those that the balancer may not have; they are offered before the end.
        size: the bytes it counts for.
    """

    __slots__ = (
        "attempt",
        "balancer",
        "durable",
        "finished",
        "function",
        "pieces",
        "result",
        "size",
    )

    def __init__(
        self,
        finished: Finished,
        result: bytes | None,
        balancer: str,
        durable: bool,
        attempt: int = 1,
        function: str = "",
        pieces: Sequence[Piece] = (),
    ) -> None:
        self.finished = finished
        self.result = result
        self.balancer = balancer
        self.durable = durable
        self.attempt = attempt
        self.function = function
        self.pieces = pieces
        self.size = ENTRY_BYTES if result is None else ENTRY_BYTES + len(result)
        if pieces:
            self.size += sum(len(piece.data) for piece in pieces)


class Outbox:
    """The unacknowledged results, oldest first.

    Args:
        max_count: results above which the outbox is full.
        max_bytes: bytes above which it is full.
    """

    __slots__ = ("_entries", "_max_bytes", "_max_count", "durable", "size")

    def __init__(self, max_count: int = MAX_RESULTS, max_bytes: int = MAX_RESULT_BYTES) -> None:
        self._entries: dict[str, Entry] = {}
        self._max_count = max_count
        self._max_bytes = max_bytes
        self.size = 0  # bytes held
        self.durable = 0  # durable results held

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Tell whether no more attempts should be begun for links."""
        return len(self._entries) >= self._max_count or self.size >= self._max_bytes

    def put(self, entry: Entry) -> None:
        """Keep a result; a token that is there already keeps its first one."""
        if self._entries.setdefault(entry.finished.token, entry) is entry:
            self.size += entry.size
            self.durable += entry.durable

    def acknowledge(self, token: str) -> bool:
        """Forget a result; False when it is not here, which is nobody's fault."""
        entry = self._entries.pop(token, None)
        if entry is not None:
            self.size -= entry.size
            self.durable -= entry.durable
        return entry is not None

    def select(self, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """Return the results that a balancer is to be offered, oldest first."""
        return [entry for entry in self._entries.values() if wanted(entry)]

    def drop_transient(self, balancer: str) -> int:
        """Drop the sync and stream results of a balancer whose callers are gone; return how many."""
        useless = self.select(lambda each: each.balancer == balancer and not each.durable)
        for entry in useless:
            self.acknowledge(entry.finished.token)
        return len(useless)
