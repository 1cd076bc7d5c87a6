"""How pieces and ends look in the three forms of a stream."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.stream_format import StreamFormat, encode_event, encode_piece, ending
from shared.errors import failure
from shared.task import Outcome, Piece, PieceKind
from shared.task_state import TaskStatus

TEXT, SSE, NDJSON = StreamFormat.TEXT, StreamFormat.SSE, StreamFormat.NDJSON


@pytest.mark.parametrize(
    ("kind", "data", "text", "event", "json_data"),
    [
        (PieceKind.TEXT, b"hi\n", b"hi\n", "chunk", b'"hi\\n"'),
        (PieceKind.TEXT, "é".encode(), "é".encode(), "chunk", '"é"'.encode()),
        (PieceKind.TEXT, b"\xff", b"\xff", "chunk", '"�"'.encode()),
        (PieceKind.BYTES, b"\x00\xff", b"\x00\xff", "chunk", b'{"base64":"AP8="}'),
        (PieceKind.JSON, b'{"a":1}', b'{"a":1}\n', "chunk", b'{"a":1}'),
        (PieceKind.JSON, b'{\n "a": "x\\ny"\r\n}', b'{"a":"x\\ny"}\n', "chunk", b'{"a":"x\\ny"}'),
        (PieceKind.PROGRESS, b'{"done":1}', b"", "progress", b'{"done":1}'),
    ],
)
def test_a_piece_in_each_form(
    kind: PieceKind, data: bytes, text: bytes, event: str, json_data: bytes
) -> None:
    """Plain text gets it verbatim, SSE and NDJSON as an event with its number."""
    piece = Piece(7, kind, data)
    name = event.encode()
    assert encode_piece(TEXT, 7, piece) == text
    assert encode_piece(SSE, 7, piece) == b"id: 7\nevent: %b\ndata: %b\n\n" % (name, json_data)
    assert encode_piece(NDJSON, 7, piece) == b'{"id":7,"event":"%b","data":%b}\n' % (
        name,
        json_data,
    )


@given(st.sampled_from(PieceKind), st.text() | st.binary())
def test_no_piece_breaks_the_framing(kind: PieceKind, value: str | bytes) -> None:
    """One NDJSON line and one SSE event a piece, whatever is in it."""
    if kind in (PieceKind.JSON, PieceKind.PROGRESS):
        data = json.dumps(value if isinstance(value, str) else list(value), indent=1).encode()
    else:
        data = value.encode() if isinstance(value, str) else value
    piece = Piece(1, kind, data)
    line = encode_piece(NDJSON, 1, piece)
    assert line.count(b"\n") == 1
    told = json.loads(line)
    assert encode_piece(SSE, 1, piece).split(b"\n")[2:] == [
        b"data: " + line.removesuffix(b"}\n").partition(b'"data":')[2], b"", b"",
    ]  # fmt: skip
    if kind is PieceKind.BYTES:
        assert base64.b64decode(told["data"]["base64"]) == data
    elif kind is not PieceKind.TEXT:
        assert told["data"] == json.loads(data)


def test_what_a_worker_calls_json_and_is_none_stays_one_line() -> None:
    """A peer that breaks its word does not break the framing."""
    assert encode_piece(NDJSON, 1, Piece(1, PieceKind.JSON, b"{\nnope")).count(b"\n") == 1
    deep = b"[\n" * 100_000
    assert encode_piece(TEXT, 1, Piece(1, PieceKind.JSON, deep)).count(b"\n") == 1


@pytest.mark.parametrize(
    ("outcome", "events"),
    [
        (Outcome(TaskStatus.SUCCEEDED), [(b"end", {"task_id": "t", "status": "succeeded"})]),
        (
            Outcome(TaskStatus.SUCCEEDED, result=b'{\n"a":1}'),
            [(b"result", {"a": 1}), (b"end", {"task_id": "t", "status": "succeeded"})],
        ),
        (
            Outcome(TaskStatus.TIMED_OUT, failure=failure("timeout")),
            [
                (b"error", {"error": "Timeout", "code": "timeout"}),
                (b"end", {"task_id": "t", "status": "timed_out"}),
            ],
        ),
        (
            Outcome(TaskStatus.FAILED),
            [
                (b"error", {"error": "Internal error", "code": "internal_error"}),
                (b"end", {"task_id": "t", "status": "failed"}),
            ],
        ),
    ],
)
def test_how_an_end_is_told(outcome: Outcome, events: list[tuple[bytes, object]]) -> None:
    """A result or an error, then the end; nothing returned is no result."""
    told = ending(outcome, "t")
    assert [(event, json.loads(data)) for event, data in told] == events
    assert all(b"\n" not in data for _, data in told)


def test_the_media_types() -> None:
    """Andera's type for plain text; SSE is UTF-8 by definition and takes no charset."""
    assert TEXT.content_type == "text/plain; charset=utf-8"
    assert SSE.content_type == "text/event-stream"
    assert NDJSON.content_type == "application/x-ndjson"


def test_an_event_of_any_name() -> None:
    """The same frame for result, error and end."""
    assert encode_event(SSE, 3, b"end", b"{}") == b"id: 3\nevent: end\ndata: {}\n\n"
    assert encode_event(NDJSON, 3, b"end", b"{}") == b'{"id":3,"event":"end","data":{}}\n'
