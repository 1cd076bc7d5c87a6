"""How a stream looks on the wire (contract §2 "Streams"): pieces and the end, as bytes.

Three forms of the same events:

* `text/plain` (default, Andera's): text and bytes verbatim, a JSON value compact with a newline;
  progress, the return value and the end are left out.
* `text/event-stream`: `id` is the sequence number, `event` is `chunk`, `progress`, `result`, `error`
  or `end`, `data` is one line of JSON.
* `application/x-ndjson`: the same, one object a line: `{"id": 1, "event": "chunk", "data": …}`.

The data of a chunk is a JSON string for text, the value itself for a JSON value, and
`{"base64": "…"}` for bytes. `progress` and `result` carry their value, `error` carries
`{"error", "code", "error_type"?, "details"?}`, `end` carries `{"task_id", "status"}`.
"""

from __future__ import annotations

import base64
from enum import StrEnum

import msgspec

from shared.edge.accept import preferred
from shared.edge.answers import error_members, json_bytes
from shared.errors import failure
from shared.task import Outcome, Piece, PieceKind

KEEP_ALIVE = b": keep-alive\n\n"  # an SSE comment; readers skip it, proxies see traffic


class StreamFormat(StrEnum):
    """A form that a stream can have; the value is its media type."""

    TEXT = "text/plain"
    SSE = "text/event-stream"
    NDJSON = "application/x-ndjson"

    @property
    def content_type(self) -> str:
        """Return the whole `Content-Type`; SSE is always UTF-8 and takes no charset."""
        return f"{self.value}; charset=utf-8" if self is StreamFormat.TEXT else self.value


_OFFERS = tuple(form.value for form in StreamFormat)


def choose(accept: str | None) -> StreamFormat:
    """Return the form that an `Accept` header asks for; plain text unless another is named."""
    return StreamFormat(preferred(accept, _OFFERS, StreamFormat.TEXT.value))


def encode_piece(form: StreamFormat, number: int, piece: Piece) -> bytes:
    """Return the bytes of a piece; b"" when this form leaves it out."""
    if form is StreamFormat.TEXT:
        return _plain(piece)
    event = b"progress" if piece.kind is PieceKind.PROGRESS else b"chunk"
    return encode_event(form, number, event, _data(piece))


def encode_event(form: StreamFormat, number: int, event: bytes, data: bytes) -> bytes:
    """Return one event of SSE or NDJSON; `data` is JSON text on one line."""
    if form is StreamFormat.SSE:
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, event, data)
    return b'{"id":%d,"event":"%b","data":%b}\n' % (number, event, data)


def ending(outcome: Outcome, task_id: str) -> list[tuple[bytes, bytes]]:
    """Return the events, as (event, data), that tell SSE and NDJSON readers how a task ended."""
    events: list[tuple[bytes, bytes]] = []
    if not outcome.ok:
        reason = outcome.failure or failure("internal_error")
        events.append((b"error", json_bytes(error_members(reason))))
    elif outcome.result is not None:
        events.append((b"result", _one_line(outcome.result)))
    end = {"task_id": task_id, "status": outcome.status.value}
    return [*events, (b"end", json_bytes(end))]


def _plain(piece: Piece) -> bytes:
    if piece.kind is PieceKind.JSON:
        return _one_line(piece.data) + b"\n"
    return b"" if piece.kind is PieceKind.PROGRESS else piece.data


def _data(piece: Piece) -> bytes:
    if piece.kind is PieceKind.TEXT:
        return msgspec.json.encode(piece.data.decode("utf-8", "replace"))
    if piece.kind is PieceKind.BYTES:
        return b'{"base64":"%b"}' % base64.b64encode(piece.data)
    return _one_line(piece.data)


def _one_line(json_text: bytes) -> bytes:
    """Return JSON text without line breaks, which would end an SSE field or an NDJSON line."""
    if b"\n" not in json_text and b"\r" not in json_text:
        return json_text
    try:
        return msgspec.json.format(json_text, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        # Not JSON after all; between tokens of JSON a space is as good as a line break.
        return json_text.replace(b"\r", b" ").replace(b"\n", b" ")
