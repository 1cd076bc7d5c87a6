"""Server-Sent Events out of bytes, wherever the network cut them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.client import sse
from shared.client.sse import EventReader, EventTooLarge, ServerEvent
from shared.edge.stream_format import KEEP_ALIVE, StreamFormat, encode_event


def _read(*pieces: bytes) -> list[ServerEvent]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)]


@pytest.mark.parametrize(
    ("wire", "events"),
    [
        (b"data: 1\n\n", [ServerEvent("message", "", b"1")]),
        (b"id: 7\nevent: chunk\ndata: {}\n\n", [ServerEvent("chunk", "7", b"{}")]),
        (b"data:no space\n\n", [ServerEvent("message", "", b"no space")]),
        (b"data:  two\n\n", [ServerEvent("message", "", b" two")]),
        (b"data: a\ndata: b\n\n", [ServerEvent("message", "", b"a\nb")]),
        (b"event: end\r\ndata: {}\r\n\r\n", [ServerEvent("end", "", b"{}")]),
        (b": a comment\n\n", []),
        (b"\n\n\n", []),
        (b"retry: 10\nid: 3\n\n", []),
        (b"event: end\n\n", [ServerEvent("end", "", b"")]),
        (b"data: unfinished\n", []),
        (b"data: 1\n\ndata: 2\n\n", [ServerEvent("message", "", b"1"), ServerEvent("message", "", b"2")]),
    ],
)  # fmt: skip
def test_wire_and_events(wire: bytes, events: list[ServerEvent]) -> None:
    """Fields, several data lines, comments and both line endings are read; a part is no event."""
    assert _read(wire) == events


WIRE = (
    encode_event(StreamFormat.SSE, 1, b"chunk", '"größer"'.encode())
    + KEEP_ALIVE
    + encode_event(StreamFormat.SSE, 2, b"result", b"[1,2]")
    + encode_event(StreamFormat.SSE, 3, b"end", b"{}")
)


@given(st.lists(st.integers(0, len(WIRE)), max_size=20).map(sorted))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    """What the server's own encoder wrote is read the same in whatever pieces it comes."""
    ends = [*cuts, len(WIRE)]
    pieces = [WIRE[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
    assert _read(*pieces) == [
        ServerEvent("chunk", "1", '"größer"'.encode()),
        ServerEvent("result", "2", b"[1,2]"),
        ServerEvent("end", "3", b"{}"),
    ]


@pytest.mark.parametrize("pieces", [[b"data: 123456"], [b"data: 123\n", b"data: 456\n"]])
def test_an_event_without_end_is_refused(
    pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that never ends an event cannot fill the memory."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 5)
    with pytest.raises(EventTooLarge):
        _read(*pieces)


def test_the_bound_is_for_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small events pass, however long the stream is."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 5)
    assert len(_read(b"data: 1234\n\n" * 100)) == 100
