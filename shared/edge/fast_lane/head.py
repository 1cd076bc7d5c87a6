"""Heads of requests: what the lane needs of one, and the judge that reads them.

Clients send the same head again and again, byte for byte but for a correlation id, so each text is
read once and remembered for a second. Only heads of callers who are authorized are remembered:
strangers cannot fill the memory. A text is found by its hash, under this process's random key, and its
bytes are compared only when that was equal: the time it takes tells nothing of the keys in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from shared.edge import limits
from shared.edge.headers import EdgeHeaders, sanitised_correlation_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.errors import Failure

MAX_HEAD = (
    8 * 1024
)  # bytes of a head that is read here; aiohttp judges larger ones by its own limits
KEPT_HEAD = 1024  # bytes of a head that is remembered: above nearly all, and …
KEPT_HEADS = 512  # … so many together stay below 1 MiB
MAX_DIGITS = 11  # of Content-Length; above any REQUEST_BODY_LIMIT

REQUEST_LINE = b"POST /task HTTP/1.1\r\n"
_CORRELATION = b"\r\nx-correlation-id: "

# Headers that change how a request is read, or that aiohttp refuses; some by their mere presence.
_ODD = frozenset(
    {
        b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"proxy-connection",
        b"sec-websocket-key1",
    }
)  # fmt: skip
_PLAIN_CONNECTION = (b"keep-alive", b"close")


class Head:
    """What the lane needs of a head; shared by all requests that begin with the same bytes.

    Attributes:
        size: bytes of the head, the blank line included.
        end: bytes of head and body.
        close: the caller wants the connection closed after the answer.
        headers: for the codec, without a correlation id.
        correlation_id: the caller's, sanitised; empty when one must be made.
        refused: why the caller may not submit, or None.
    """

    __slots__ = ("close", "correlation_id", "end", "headers", "refused", "size")

    def __init__(
        self, size: int, end: int, headers: EdgeHeaders, correlation_id: str,
        refused: Failure | None, *, close: bool,
    ) -> None:  # fmt: skip
        self.size = size
        self.end = end
        self.headers = headers
        self.correlation_id = correlation_id
        self.refused = refused
        self.close = close

    def correlated(self, size: int, correlation_id: str) -> Head:
        """Return the same head with another correlation id, or none, and thus another size."""
        end = self.end - self.size + size
        return Head(size, end, self.headers, correlation_id, self.refused, close=self.close)


class Heads:
    """Reads heads.

    Args:
        authorize: returns why a caller may not submit, or None; asked once a head.
        body_limit: REQUEST_BODY_LIMIT; larger bodies are the other shell's to refuse.
    """

    def __init__(self, authorize: Callable[[EdgeHeaders], Failure | None], body_limit: int) -> None:
        self._authorize = authorize
        self._body_limit = body_limit
        self._known: dict[bytes, Head] = {}

    def __len__(self) -> int:
        """Return how many heads are remembered."""
        return len(self._known)

    def read(self, raw: bytes) -> Head | None:
        """Return what a head says; None when its request is not for the lane.

        Args:
            raw: everything to the first blank line, that included.
        """
        known = self._known.get(raw)
        if known is not None:
            return known
        rest, correlation_id = _without_correlation(raw)
        if correlation_id:
            known = self._known.get(rest)
            if known is not None:
                return known.correlated(len(raw), correlation_id)
        head = self._judged(raw)
        if head is not None and head.refused is None and head.headers.idempotency_key is None:
            self._keep(rest, head.correlated(len(rest), "") if correlation_id else head)
        return head

    def _keep(self, raw: bytes, head: Head) -> None:
        if len(raw) > KEPT_HEAD:
            return
        if len(self._known) >= KEPT_HEADS:
            self._known.clear()
        self._known[raw] = head

    def forget(self) -> None:
        """Read every head anew; called by the sweep, so that no verdict outlives its second."""
        self._known.clear()

    def _judged(self, raw: bytes) -> Head | None:
        parsed = _parsed(raw)
        length = None if parsed is None else _length(parsed.fields)
        if parsed is None or length is None or length > self._body_limit:
            return None
        headers = _edge_headers(parsed.fields)
        correlation_id = sanitised_correlation_id(headers.correlation_id, limits.MAX_CORRELATION_ID)
        headers.correlation_id = None
        size = len(raw)
        refused = self._authorize(headers)
        return Head(size, size + length, headers, correlation_id, refused, close=parsed.close)


class _Parsed:
    """A head as llhttp read it."""

    __slots__ = ("close", "fields")

    def __init__(self, fields: dict[bytes, bytes], *, close: bool) -> None:
        self.fields = fields
        self.close = close


class _Collector:
    """What httptools tells the headers to."""

    __slots__ = ("on_header",)

    def __init__(self, on_header: Callable[[bytes, bytes], None]) -> None:
        self.on_header = on_header


def _parsed(raw: bytes) -> _Parsed | None:
    """Return the fields of a head by lower-case name; None when it is wrong or odd."""
    if not raw.startswith(REQUEST_LINE):
        return None
    given: dict[bytes, bytes] = {}
    parser = httptools.HttpRequestParser(_Collector(given.__setitem__))
    try:
        parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    fields = {name.lower(): value for name, value in given.items()}
    # A field less than lines: a name occurs twice, which aiohttp refuses or resolves in its own way.
    if len(fields) != raw.count(b"\r\n") - 2 or len(fields) > limits.MAX_HEADERS:
        return None
    if b"host" not in fields or not _ODD.isdisjoint(fields):
        return None
    connection = fields.get(b"connection")
    if connection is not None and connection.lower() not in _PLAIN_CONNECTION:
        return None
    return _Parsed(fields, close=not parser.should_keep_alive())


def _without_correlation(raw: bytes) -> tuple[bytes, str]:
    """Return a head without its correlation id, and the id when it is a plain one, else the head as it is.

    A line of a head that llhttp accepts is a header of its own, so what is left is judged the same.
    """
    at = raw.lower().find(_CORRELATION)
    if at < 0:
        return raw, ""
    end = raw.index(b"\r\n", at + 2)
    value = raw[at + len(_CORRELATION) : end].decode("latin-1")
    if value != sanitised_correlation_id(value, limits.MAX_CORRELATION_ID):
        return raw, ""
    return raw[:at] + raw[end:], value


def _length(fields: dict[bytes, bytes]) -> int | None:
    """Return Content-Length; None without a body."""
    digits = fields.get(b"content-length", b"")
    return int(digits) or None if digits.isdigit() and len(digits) <= MAX_DIGITS else None


def _edge_headers(fields: dict[bytes, bytes]) -> EdgeHeaders:
    def text(name: bytes) -> str | None:
        raw = fields.get(name)
        return None if raw is None else raw.rstrip(b" \t").decode("utf-8", "surrogateescape")

    return EdgeHeaders(
        authorization=text(b"authorization"),
        lb_auth=text(b"x-lb-auth"),
        wr_auth=text(b"x-wr-auth"),
        content_type=text(b"content-type"),
        accept=text(b"accept"),
        correlation_id=text(b"x-correlation-id"),
        last_event_id=text(b"last-event-id"),
        prefer=text(b"prefer"),
        idempotency_key=text(b"idempotency-key"),
    )
