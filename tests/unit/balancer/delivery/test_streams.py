"""Streams that may be taken up again: which are kept, and how much they may hold."""

from __future__ import annotations

from collections.abc import Callable

from balancer.delivery.streams import LOOKS, Streams
from shared.edge.stream_format import StreamFormat
from shared.edge.streams import StreamSink, Timer
from shared.errors import Failure
from shared.task import Outcome, Piece, PieceKind
from shared.task_state import TaskStatus

SIZE = 1000


class NoTimers:
    """Calls nobody."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer:
        """Refuse: no reader leaves here."""
        raise AssertionError((delay, callback))


def _sink(name: str, *, form: StreamFormat = StreamFormat.SSE, ended: bool = True) -> StreamSink:
    sink = StreamSink(form, NoTimers())
    sink.bind(name, on_grant=lambda _: None, on_leave=lambda: None)
    sink.piece(Piece(1, PieceKind.TEXT, b"x" * SIZE))
    if ended:
        sink.finished(Outcome(TaskStatus.SUCCEEDED))
    return sink


def test_only_server_sent_events_can_be_taken_up() -> None:
    """The other forms have no numbers to go on from."""
    streams = Streams()
    for form in StreamFormat:
        streams.add(_sink(form.name, form=form))
    assert len(streams) == 1
    assert streams.get("SSE") is not None


def test_the_oldest_ended_ones_are_forgotten_and_running_ones_never() -> None:
    """A running stream may be taken up however many came after it."""
    streams = Streams(kept=3)
    streams.add(_sink("runs", ended=False))
    for n in range(10):
        streams.add(_sink(f"ended-{n}"))
    assert len(streams) == 3
    assert streams.get("runs") is not None
    assert streams.get("ended-9") is not None
    assert streams.get("ended-5") is None


def test_their_bytes_are_bounded_whatever_their_number() -> None:
    """A thousand streams of a megabyte must not be a gigabyte."""
    streams = Streams(kept_bytes=10 * SIZE)
    for n in range(10 * LOOKS):
        streams.add(_sink(f"s-{n}"))
        assert len(streams) <= 10 + LOOKS
    assert streams.get(f"s-{10 * LOOKS - 1}") is not None


def test_what_a_sink_holds_is_counted_sent_or_not() -> None:
    """Events stay for a reader that comes back."""
    sink = _sink("s", ended=False)
    before = sink.held_bytes
    reader = sink.attach()
    assert not isinstance(reader, Failure)
    reader.take()
    assert before > SIZE
    assert sink.held_bytes == before
