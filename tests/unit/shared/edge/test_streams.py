"""A stream on its way to one reader: order, credit, resume, leaving, breaking off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.stream_format import StreamFormat
from shared.edge.streams import StreamReader, StreamSink
from shared.errors import Failure, failure
from shared.task import Outcome, Piece, PieceKind
from shared.task_state import TaskStatus

OK = Outcome(TaskStatus.SUCCEEDED, result=b"1")
FAILED = Outcome(TaskStatus.FAILED, failure=failure("function_error", "boom"))


class Alarm:
    """A timer that a test lets go off."""

    def __init__(self, delay: float, callback: Callable[[], None]) -> None:
        self.delay = delay
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Call it off."""
        self.cancelled = True


class Alarms:
    """Timers that go off when a test says so."""

    def __init__(self) -> None:
        self.set: list[Alarm] = []

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Alarm:
        """Set a timer."""
        self.set.append(Alarm(delay, callback))
        return self.set[-1]

    def ring(self) -> None:
        """Let every timer that was not cancelled go off."""
        alarms, self.set = self.set, []
        for alarm in alarms:
            if not alarm.cancelled:
                alarm.callback()


class Stream:
    """A sink with what its owner was told."""

    def __init__(self, form: StreamFormat, **limits: int) -> None:
        self.alarms = Alarms()
        self.granted = 0
        self.left = 0
        self.sink = StreamSink(form, self.alarms, **limits)
        self.sink.bind("t-1", on_grant=self._grant, on_leave=self._leave)

    def _grant(self, size: int) -> None:
        self.granted += size

    def _leave(self) -> None:
        self.left += 1

    def read(self, last_event_id: int = 0) -> StreamReader:
        """Attach a reader that must be let in."""
        reader = self.sink.attach(last_event_id)
        assert isinstance(reader, StreamReader)
        return reader

    def pieces(self, *texts: bytes) -> None:
        """Send text pieces."""
        for text in texts:
            self.sink.piece(Piece(1, PieceKind.TEXT, text))


def _numbers(sse: bytes) -> list[int]:
    return [int(line[4:]) for line in sse.split(b"\n") if line.startswith(b"id: ")]


def _everything(reader: StreamReader, size: int = 1) -> bytes:
    taken = b""
    while piece := reader.take(size):
        taken += piece
        reader.written()
    return taken


def test_pieces_come_out_in_order_and_the_end_ends_it() -> None:
    """Plain text is exactly what the function produced."""
    stream = Stream(StreamFormat.TEXT)
    reader = stream.read()
    assert not reader.decided
    stream.pieces(b"a", b"b")
    assert (reader.decided, reader.verdict, reader.done) == (True, None, False)
    assert reader.take() == b"ab"
    stream.pieces(b"c")
    stream.sink.finished(OK)
    assert not reader.done
    assert reader.take() == b"c"
    assert (reader.done, reader.broken) == (True, False)


def test_a_reader_is_notified_of_every_news() -> None:
    """The shell sleeps in between."""
    stream = Stream(StreamFormat.SSE)
    reader = stream.read()
    told: list[str] = []
    reader.notify = lambda: told.append("news")
    stream.pieces(b"a")
    stream.sink.finished(OK)
    assert told == ["news", "news"]


@pytest.mark.parametrize("form", StreamFormat)
def test_an_error_before_the_first_piece_is_a_verdict(form: StreamFormat) -> None:
    """The shell can still answer with a proper status."""
    stream = Stream(form)
    reader = stream.read()
    stream.sink.finished(FAILED)
    assert reader.decided
    assert reader.verdict == failure("function_error", "boom")
    assert reader.take() == b""


@pytest.mark.parametrize(
    ("form", "broken", "last_events"),
    [
        (StreamFormat.TEXT, True, []),
        (StreamFormat.SSE, False, [b"event: error", b"event: end"]),
        (StreamFormat.NDJSON, False, [b'"event":"error"', b'"event":"end"']),
    ],
)
def test_an_error_after_the_first_piece(
    form: StreamFormat, broken: bool, last_events: list[bytes]
) -> None:
    """SSE and NDJSON say so in band, plain text breaks off."""
    stream = Stream(form)
    reader = stream.read()
    stream.pieces(b"a")
    stream.sink.finished(FAILED)
    taken = _everything(reader)
    assert reader.verdict is None
    assert (reader.done, reader.broken) == (True, broken)
    assert all(event in taken for event in last_events)


def test_a_success_without_pieces_is_an_empty_stream() -> None:
    """Plain text leaves the return value out; 200 with nothing is right."""
    stream = Stream(StreamFormat.TEXT)
    reader = stream.read()
    stream.sink.finished(OK)
    assert (reader.decided, reader.verdict, reader.done, reader.broken) == (True, None, True, False)


def test_progress_is_no_first_piece_of_plain_text() -> None:
    """It is left out, so an error after it can still be a status; its credit comes back at once."""
    stream = Stream(StreamFormat.TEXT)
    reader = stream.read()
    stream.sink.piece(Piece(1, PieceKind.PROGRESS, b'{"done":1}'))
    assert (reader.decided, stream.granted) == (False, len(b'{"done":1}'))
    stream.sink.finished(FAILED)
    assert reader.verdict is not None


def test_credit_is_granted_when_bytes_have_been_written() -> None:
    """Taking is not enough: the socket may be full. What counts is the piece, not its wrapping."""
    stream = Stream(StreamFormat.SSE)
    reader = stream.read()
    stream.pieces(b"abc", b"de")
    assert reader.take()
    assert stream.granted == 0
    reader.written()
    assert stream.granted == 5
    reader.written()
    assert stream.granted == 5


@given(
    st.lists(st.binary(max_size=300), max_size=30),
    st.integers(1, 500),
    st.sampled_from(StreamFormat),
)
def test_every_byte_arrives_once_and_all_credit_comes_back(
    texts: list[bytes], size: int, form: StreamFormat
) -> None:
    """However the writes are cut, nothing is lost, doubled or kept."""
    stream = Stream(form)
    reader = stream.read()
    stream.pieces(*texts)
    taken = _everything(reader, size)
    assert stream.granted == sum(map(len, texts))
    if form is StreamFormat.TEXT:
        assert taken == b"".join(texts)
    elif form is StreamFormat.SSE:
        assert _numbers(taken) == list(range(1, len(texts) + 1))


def test_a_write_is_bounded_but_a_large_piece_goes_through() -> None:
    """At least one event, then as many as fit."""
    stream = Stream(StreamFormat.TEXT)
    reader = stream.read()
    stream.pieces(b"x" * 10, b"y" * 3, b"z" * 3)
    assert reader.take(5) == b"x" * 10
    assert reader.take(5) == b"yyy"
    assert reader.take(6) == b"zzz"


@pytest.mark.parametrize("form", [StreamFormat.TEXT, StreamFormat.NDJSON])
def test_a_plain_reader_that_leaves_ends_the_task_at_once(form: StreamFormat) -> None:
    """It cannot come back; its owner is told once, and later pieces are dropped."""
    stream = Stream(form)
    reader = stream.read()
    stream.pieces(b"a")
    reader.take()
    reader.leave()
    reader.leave()
    assert (stream.left, stream.alarms.set) == (1, [])
    stream.pieces(b"b")
    assert stream.granted == 1


def test_an_sse_reader_has_time_to_come_back() -> None:
    """After the grace its task is cancelled, once."""
    stream = Stream(StreamFormat.SSE)
    reader = stream.read()
    stream.pieces(b"a")
    reader.take()
    reader.leave()
    assert (stream.left, stream.alarms.set[0].delay) == (0, 15.0)
    stream.alarms.ring()
    assert stream.left == 1


def test_an_sse_reader_that_was_told_nothing_cannot_come_back() -> None:
    """It does not know the task's id, so nobody waits for it."""
    stream = Stream(StreamFormat.SSE)
    reader = stream.read()
    stream.pieces(b"a")
    reader.leave()
    assert (stream.left, stream.alarms.set) == (1, [])


def test_who_comes_back_goes_on_where_he_was() -> None:
    """Events after the last one that he has, the unsent ones too; the grace is over."""
    stream = Stream(StreamFormat.SSE)
    first = stream.read()
    stream.pieces(b"a", b"b", b"c")
    first.take()
    first.leave()
    stream.pieces(b"d")
    second = stream.read(2)
    assert _numbers(_everything(second)) == [3, 4]
    stream.alarms.ring()
    assert (stream.left, stream.granted) == (0, 4)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_resume_gives_exactly_what_is_missing(sent: int, waiting: int, seen: int) -> None:
    """For any split into sent, unsent and seen, the reader ends with each event once."""
    stream = Stream(StreamFormat.SSE)
    first = stream.read()
    stream.pieces(*[b"x"] * sent)
    _everything(first)
    stream.pieces(*[b"x"] * waiting)
    seen = min(seen, sent)
    second = stream.read(seen)
    assert _numbers(_everything(second)) == list(range(seen + 1, sent + waiting + 1))
    assert stream.granted == sent + waiting


def test_a_reader_may_come_back_after_the_end() -> None:
    """While the sink is kept, the last events can be had again."""
    stream = Stream(StreamFormat.SSE)
    first = stream.read()
    stream.pieces(b"a")
    stream.sink.finished(OK)
    _everything(first)
    first.leave()
    assert (stream.left, stream.alarms.set) == (0, [])
    second = stream.read(1)
    told = _everything(second)
    assert (_numbers(told), second.done) == ([2, 3], True)
    assert b"event: result\ndata: 1\n" in told


def test_the_end_stops_the_grace() -> None:
    """A task that has ended is not cancelled."""
    stream = Stream(StreamFormat.SSE)
    reader = stream.read()
    stream.pieces(b"a")
    reader.take()
    reader.leave()
    stream.sink.finished(OK)
    stream.alarms.ring()
    assert stream.left == 0


def test_the_newest_reader_takes_over() -> None:
    """A reconnect that comes before we noticed the loss; the old connection breaks off and changes nothing."""
    stream = Stream(StreamFormat.SSE)
    old = stream.read()
    stream.pieces(b"a", b"b")
    old.take()
    told: list[str] = []
    old.notify = lambda: told.append("news")
    new = stream.read(1)
    assert told == ["news"]
    assert (old.done, old.broken, old.replaced, old.take()) == (True, True, True, b"")
    old.written()
    old.leave()
    assert (stream.left, stream.alarms.set) == (0, [])
    assert _numbers(new.take()) == [2]


@pytest.mark.parametrize(
    "limits", [{"ring_events": 3}, {"ring_bytes": 3 * len(b'id: 1\nevent: chunk\ndata: "x"\n\n')}]
)
def test_the_ring_is_bounded_and_a_gap_is_told(limits: dict[str, int]) -> None:
    """Who was away too long hears so instead of missing events silently."""
    stream = Stream(StreamFormat.SSE, **limits)
    reader = stream.read()
    stream.pieces(*[b"x"] * 6)
    _everything(reader)
    gone = stream.sink.attach(2)
    assert isinstance(gone, Failure)
    assert (gone.code, gone.message) == ("not_found", "Events after 2 are no longer kept")
    assert _numbers(_everything(stream.read(3))) == [4, 5, 6]


def test_an_event_larger_than_the_ring_was_still_told() -> None:
    """Its reader may come back when he has it."""
    stream = Stream(StreamFormat.SSE, ring_bytes=10)
    reader = stream.read()
    stream.pieces(b"x" * 100)
    _everything(reader)
    reader.leave()
    assert (stream.left, len(stream.alarms.set)) == (0, 1)
    assert isinstance(stream.sink.attach(0), Failure)
    assert _everything(stream.read(1)) == b""


def test_a_last_event_id_from_nowhere_is_no_harm() -> None:
    """A number that was never sent skips nothing that waits."""
    stream = Stream(StreamFormat.SSE)
    reader = stream.read(99)
    stream.pieces(b"a")
    assert _numbers(reader.take()) == [1]


def test_a_producer_that_ignores_its_credit_is_cut_off() -> None:
    """Memory is bounded whatever a peer does: the task is cancelled, the transfer breaks."""
    stream = Stream(StreamFormat.SSE, max_pending=100)
    reader = stream.read()
    stream.pieces(b"x" * 200)
    assert stream.left == 0  # one large piece is within the rules
    stream.pieces(b"y")
    assert stream.left == 1
    stream.pieces(b"z")
    stream.sink.finished(FAILED)
    assert (reader.take(), reader.done, reader.broken) == (b"", True, True)
    assert stream.sink.overrun is not None
    assert stream.sink.overrun.code == "protocol_error"


def test_the_end_comes_once() -> None:
    """A second end and pieces after it are ignored."""
    stream = Stream(StreamFormat.NDJSON)
    reader = stream.read()
    stream.sink.finished(OK)
    stream.sink.finished(FAILED)
    stream.pieces(b"late")
    assert stream.sink.outcome is OK
    taken = _everything(reader)
    assert taken == (
        b'{"id":1,"event":"result","data":1}\n'
        b'{"id":2,"event":"end","data":{"task_id":"t-1","status":"succeeded"}}\n'
    )


def test_a_reader_that_leaves_between_taking_and_writing_keeps_no_credit() -> None:
    """Else the function would wait for ever for a reader that came back."""
    stream = Stream(StreamFormat.SSE)
    reader = stream.read()
    stream.pieces(b"abc")
    reader.take()
    reader.leave()
    assert stream.granted == 3
    stream.read(0).take()
    assert stream.granted == 3
