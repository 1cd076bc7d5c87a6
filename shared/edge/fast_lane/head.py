"""The head of a request, as llhttp tells it: only what the lane needs, and whether it is odd."""

from __future__ import annotations

# Position in `Head.values` of the headers that mean something; a name that occurs twice counts once,
# the first time, as with aiohttp.
WANTED = {
    b"authorization": 0, b"x-lb-auth": 1, b"x-wr-auth": 2, b"content-type": 3, b"accept": 4,
    b"x-correlation-id": 5, b"last-event-id": 6, b"prefer": 7, b"idempotency-key": 8,
    b"content-length": 9, b"connection": 10,
}  # fmt: skip
LENGTH, CONNECTION = 9, 10
_ODD = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding"})


class Head:
    """The head of one request, as llhttp tells it."""

    __slots__ = ("complete", "count", "odd", "values")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the last request."""
        self.values: list[bytes | None] = [None] * len(WANTED)
        self.odd = False
        self.count = 0
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header (httptools)."""
        self.count += 1
        lower = name.lower()
        place = WANTED.get(lower)
        if place is not None:
            if self.values[place] is None:
                self.values[place] = value
        elif lower in _ODD:
            self.odd = True

    def on_headers_complete(self) -> None:
        """Note that the head was accepted (httptools)."""
        self.complete = True
