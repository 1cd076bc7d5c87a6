"""The context: one `stream` for both worlds, misuse that fails loudly, progress, events, time."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest
import structlog
from pydantic import BaseModel

from tests.fakes.manual_clock import START, ManualClock
from tests.fakes.recording_channel import RecordingChannel
from worker.authoring.context import Context, ContextMisuse, Progress, as_piece


class Model(BaseModel):
    day: date


@dataclass
class Point:
    x: int


def make(
    channel: RecordingChannel | None = None,
    *,
    streaming: bool = True,
    deadline_s: float | None = None,
    metadata: bytes | None = None,
    clock: ManualClock | None = None,
) -> Context:
    """Return a context as the runner makes it."""
    return Context(
        task_id="t-1",
        function="hello",
        channel=channel or RecordingChannel(),
        clock=clock or ManualClock(),
        attempt=2,
        attempt_token="boot-7",
        metadata=metadata,
        correlation_id="c-1",
        deadline_s=deadline_s,
        streaming=streaming,
    )


async def test_a_coroutine_awaits_its_pieces() -> None:
    """On the worker's loop a piece is sent when it is awaited, by the awaiting door."""
    channel = RecordingChannel()
    ctx = make(channel)
    await ctx.stream("a")
    await asyncio.gather(ctx.stream(b"b"), ctx.stream({"c": 1}))
    ctx.finish()
    assert channel.pieces == ["a", b"b", {"c": 1}]
    assert set(channel.order) == {"awaited"}


async def test_a_forgotten_await_is_found_at_the_end() -> None:
    """A piece that was not sent fails the function instead of being lost in silence."""
    channel = RecordingChannel()
    ctx = make(channel)
    ctx.stream("lost")
    await ctx.stream("sent")
    with pytest.raises(ContextMisuse, match=r"1 piece\(s\) were not sent: write `await"):
        ctx.finish()
    assert channel.pieces == ["sent"]


async def test_a_piece_is_awaited_once() -> None:
    """A second await would send it twice."""
    ctx = make()
    sending = ctx.stream("a")
    await sending
    with pytest.raises(RuntimeError, match="awaited already"):
        await sending


async def test_a_thread_blocks() -> None:
    """Where no loop runs the piece is sent at once, by the blocking door."""
    channel = RecordingChannel()
    ctx = make(channel)
    await asyncio.to_thread(ctx.stream, "a")
    ctx.finish()
    assert (channel.pieces, channel.order) == (["a"], ["blocking"])


def test_awaiting_what_was_sent_does_nothing() -> None:
    """Code that serves both worlds may await in each."""
    channel = RecordingChannel()
    sent = make(channel).stream("a")

    async def wait() -> None:
        await sent

    asyncio.run(wait())
    assert channel.pieces == ["a"]


def test_a_loop_of_the_functions_own_is_refused() -> None:
    """There neither waiting in the loop nor blocking it would be right."""
    ctx = make()

    async def inner() -> None:
        await ctx.stream("a")

    with pytest.raises(ContextMisuse, match="an event loop of the function's own"):
        asyncio.run(inner())


def test_a_function_must_be_declared_to_stream() -> None:
    """The error says which setting is missing."""
    with pytest.raises(ContextMisuse, match=r"'hello' calls .* not declared with streaming=True"):
        make(streaming=False).stream("a")


def test_nothing_is_streamed_after_the_end() -> None:
    """A stray thread learns that its task is over."""
    ctx = make()
    ctx.finish()
    with pytest.raises(ContextMisuse, match="has ended"):
        ctx.stream("late")


@pytest.mark.parametrize(
    ("value", "piece"),
    [
        ("text", "text"),
        (b"raw", b"raw"),
        (bytearray(b"raw"), b"raw"),
        (memoryview(b"raw"), b"raw"),
        (None, None),
        (1.5, 1.5),
        ([1, {"a": (True,)}], [1, {"a": [True]}]),
        (Model(day=date(2024, 1, 2)), {"day": "2024-01-02"}),
        (Point(3), {"x": 3}),
        ({"raw": b"\xff"}, {"raw": "_w=="}),
    ],
)
def test_a_piece_is_text_bytes_or_a_json_value(value: object, piece: object) -> None:
    """What has a JSON form gets it."""
    found = as_piece(value)
    assert found == piece
    assert type(found) is type(piece)


def test_a_piece_without_json_form_is_refused_where_it_is_made() -> None:
    """The author sees the line that streamed it."""
    with pytest.raises(TypeError, match="a stream piece has no JSON form"):
        make().stream(object())
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(TypeError, match="a stream piece has no JSON form"):
        as_piece(circle)


@pytest.mark.parametrize(
    ("args", "progress", "fraction", "wire"),
    [
        ((0.25,), Progress(done=0.25, total=1), 0.25, {"done": 0.25, "total": 1}),
        ((3, 10), Progress(done=3, total=10), 0.3, {"done": 3, "total": 10}),
        ((12, 10), Progress(done=12, total=10), 1.0, {"done": 12, "total": 10}),
        (
            (3, 10, "x.py"),
            Progress(done=3, total=10, message="x.py"),
            0.3,
            {"done": 3, "total": 10, "message": "x.py"},
        ),
        ((None, None, "x.py"), Progress(message="x.py"), None, {"message": "x.py"}),
        ((None, None, "\udcff.py"), Progress(message="?.py"), None, {"message": "?.py"}),
    ],
)
def test_progress_is_a_fraction_or_a_count(
    args: tuple[float, float, str],
    progress: Progress,
    fraction: float | None,
    wire: dict[str, object],
) -> None:
    """One number is a fraction, two are a count; an estimate that was too low counts as done."""
    channel = RecordingChannel()
    make(channel).progress(*args)
    assert channel.told == [progress]
    assert (progress.fraction, progress.wire()) == (fraction, wire)


@pytest.mark.parametrize("args", [(1.5,), (-1,), (math.nan,), (1, 0), (1, -5), (1, math.inf)])
def test_nonsense_progress_is_refused(args: tuple[float, float]) -> None:
    """A mistake in the arithmetic shows where it is made."""
    channel = RecordingChannel()
    with pytest.raises(ValueError, match="progress: "):
        make(channel).progress(*args)
    assert channel.told == []


def test_events_have_a_name_and_data() -> None:
    """Data get their JSON form; names are fit for logs and hook ids."""
    channel = RecordingChannel()
    ctx = make(channel)
    ctx.emit("report.ready", Model(day=date(2024, 1, 2)))
    ctx.emit("ping")
    assert channel.events == [("report.ready", {"day": "2024-01-02"}), ("ping", None)]
    for name in ("", "x" * 129, "a\nb"):
        with pytest.raises(ValueError, match="an event name is"):
            ctx.emit(name)
    with pytest.raises(TypeError, match="event data has no JSON form"):
        ctx.emit("x", object())


def test_time_that_is_left() -> None:
    """The limit stays where it is while the clock moves; what is left never goes below 0."""
    clock = ManualClock(now_s=1000.0)
    ctx = make(clock=clock, deadline_s=1005.0)
    assert (ctx.remaining_s, ctx.deadline) == (5.0, START + timedelta(seconds=5))
    clock.advance(3)
    assert (ctx.remaining_s, ctx.deadline) == (2.0, datetime(2030, 1, 1, 0, 0, 5, tzinfo=UTC))
    clock.advance(3)
    assert ctx.remaining_s == 0.0


def test_no_limit_is_none() -> None:
    """A function without a limit has no deadline."""
    assert (make().remaining_s, make().deadline) == (None, None)


def test_cancelled_is_asked_of_the_channel() -> None:
    """It may change while the function runs."""
    channel = RecordingChannel()
    ctx = make(channel)
    before = ctx.cancelled
    channel.cancelled = True
    assert (before, ctx.cancelled) == (False, True)


@pytest.mark.parametrize(("raw", "value"), [(None, {}), (b'{"a": [1]}', {"a": [1]})])
def test_metadata_are_decoded_when_asked_for(raw: bytes | None, value: object) -> None:
    """They come as JSON text; the same object is given each time."""
    ctx = make(metadata=raw)
    assert ctx.metadata == value
    assert raw is None or ctx.metadata is ctx.metadata


def test_log_lines_carry_the_task() -> None:
    """Whatever the function logs can be found by task, function, attempt and request."""
    with structlog.testing.capture_logs() as lines:
        ctx = make()
        ctx.log.info("half way", files=3)
        ctx.log.warning("slow")
    common = {"task_id": "t-1", "function": "hello", "attempt": 2, "correlation_id": "c-1"}
    assert lines == [
        {"event": "half way", "files": 3, "log_level": "info", **common},
        {"event": "slow", "log_level": "warning", **common},
    ]
