"""What the events of a stream mean, as the server's own encoder writes them."""

from __future__ import annotations

import pytest

from shared.client.events import Chunk, Ended, Progress, Returned, read_event
from shared.client.sse import EventReader, ServerEvent
from shared.edge.stream_format import StreamFormat, encode_event, encode_piece, ending
from shared.errors import CabrankError, Failure, FunctionError
from shared.task import Outcome, Piece, PieceKind
from shared.task_state import TaskStatus


def _through(wire: bytes) -> list[object]:
    return [read_event(event) for event in EventReader().feed(wire)]


@pytest.mark.parametrize(
    ("piece", "event"),
    [
        (Piece(1, PieceKind.TEXT, "a\nb ✓".encode()), Chunk(4, "a\nb ✓")),
        (Piece(1, PieceKind.BYTES, b"\x00\xff"), Chunk(4, b"\x00\xff")),
        (Piece(1, PieceKind.BYTES, b""), Chunk(4, b"")),
        (Piece(1, PieceKind.JSON, b'{"n": 1}'), Chunk(4, {"n": 1})),
        (Piece(1, PieceKind.JSON, b'{"base64": "not base64!"}'), Chunk(4, {"base64": "not base64!"})),
        (Piece(1, PieceKind.JSON, b"null"), Chunk(4, None)),
        (Piece(1, PieceKind.PROGRESS, b'{"done":1,"total":4,"message":"x"}'), Progress(4, 0.25, 1, 4, "x")),
        (Piece(1, PieceKind.PROGRESS, b'{"done":5,"total":4}'), Progress(4, 1.0, 5, 4)),
        (Piece(1, PieceKind.PROGRESS, b'{"done":5}'), Progress(4, None, 5)),
        (Piece(1, PieceKind.PROGRESS, b'{"done":0,"total":0}'), Progress(4, None, 0, 0)),
        (Piece(1, PieceKind.PROGRESS, b'{"fraction":0.5}'), Progress(4, fraction=0.5)),
        (Piece(1, PieceKind.PROGRESS, b'{"fraction":true,"message":7}'), Progress(4)),
    ],
)  # fmt: skip
def test_a_piece_comes_back_as_it_went(piece: Piece, event: Chunk | Progress) -> None:
    """Text, bytes, JSON values and progress are what the function gave."""
    [read] = _through(encode_piece(StreamFormat.SSE, 4, piece))
    assert read == event
    if isinstance(read, Chunk) and isinstance(event, Chunk):
        assert type(read.value) is type(event.value)


def _ending(outcome: Outcome) -> list[object]:
    events = ending(outcome, "t-1")
    wire = b"".join(encode_event(StreamFormat.SSE, 9, name, data) for name, data in events)
    return _through(wire)


def test_a_success_is_a_result_and_an_end() -> None:
    """The return value and the end come as such, and the end names the task."""
    assert _ending(Outcome(TaskStatus.SUCCEEDED, result=b"[1]")) == [Returned([1]), Ended("t-1")]


def test_a_success_without_a_result_is_an_end() -> None:
    """A function that returned nothing has only an end."""
    assert _ending(Outcome(TaskStatus.SUCCEEDED)) == [Ended("t-1")]


def test_a_failure_is_an_error_of_the_tree() -> None:
    """The error in band is the same exception that a call would raise."""
    reason = Failure("function_error", "boom", error_type="ValueError")
    error, end = _ending(Outcome(TaskStatus.FAILED, failure=reason))
    assert isinstance(error, FunctionError)
    assert error.failure == reason
    assert end == Ended("t-1")


def test_an_unknown_event_is_nothing() -> None:
    """A server may add kinds of events; they are passed over."""
    assert read_event(ServerEvent("weather", "1", b"sunny")) is None


@pytest.mark.parametrize(
    "event",
    [
        ServerEvent("chunk", "1", b"{"),
        ServerEvent("chunk", "one", b"1"),
        ServerEvent("progress", "1", b"[]"),
        ServerEvent("end", "1", b"null"),
    ],
)
def test_nonsense_is_a_bad_answer(event: ServerEvent) -> None:
    """What is not of the contract is an error with a code, never an exception of a parser."""
    read = read_event(event)
    assert isinstance(read, CabrankError)
    assert read.code == "bad_answer"
