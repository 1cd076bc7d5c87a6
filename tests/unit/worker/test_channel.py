"""The channel of an attempt: order, room, progress that overtakes nothing, events that are bounded."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from shared.errors import TaskCancelled
from shared.ids import TaskId, Token
from shared.task import PieceKind
from tests.fakes.waiting import wait_until
from worker import ContextMisuse, Progress, function
from worker.attempt import Attempt
from worker.channel import HAND_BYTES, MAX_EVENT_BYTES, MAX_WAITING_EVENTS, AttemptChannel
from worker.core.execution import cancelled

if TYPE_CHECKING:
    from shared.task import Outcome, Piece


@function(streaming=True)
async def some_function() -> None:
    """Stands for any function."""


class RecordingOwner:
    """Keeps what an attempt told."""

    def __init__(self) -> None:
        self.pieces: list[tuple[PieceKind, bytes]] = []
        self.events: list[tuple[str, bytes]] = []

    def piece(self, attempt: Attempt, piece: Piece) -> None:
        """Take a piece."""
        self.pieces.append((piece.kind, piece.data))

    def event(self, attempt: Attempt, name: str, data: bytes) -> None:
        """Take an event."""
        self.events.append((name, data))

    def decided(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take the decision."""


def _channel(credit: int = 10, *, streams: bool = True) -> tuple[AttemptChannel, RecordingOwner]:
    owner = RecordingOwner()
    attempt = Attempt(
        Token("t"), TaskId("task"), some_function, owner, streams=streams, credit=credit
    )
    attempt.channel = AttemptChannel(attempt, asyncio.get_running_loop())
    attempt.begin(0)
    return attempt.channel, owner


def _stop(channel: AttemptChannel, owner: RecordingOwner) -> None:
    """Decide the attempt of a channel, as the engine does."""
    attempt = channel._attempt  # pyright: ignore[reportPrivateUsage]  # the engine has it anyway
    attempt.stop(cancelled(), 0)
    channel.stop()


async def test_a_coroutine_waits_until_its_piece_has_left() -> None:
    """The push returns when there was room, and the next one waits for more."""
    channel, owner = _channel(credit=3)
    await channel.push("abc")
    waiting = asyncio.create_task(channel.push("def"))
    await asyncio.sleep(0)
    assert owner.pieces == [(PieceKind.TEXT, b"abc")]
    assert not waiting.done()
    channel.grant(3)
    await waiting
    assert owner.pieces[1:] == [(PieceKind.TEXT, b"def")]


async def test_nobody_waits_for_room_in_vain() -> None:
    """When the attempt is decided, those who wait learn that nobody wants their pieces."""
    channel, owner = _channel(credit=0)
    waiting = asyncio.create_task(channel.push("abc"))
    blocked = asyncio.create_task(asyncio.to_thread(channel.push_blocking, "x" * HAND_BYTES))
    await asyncio.sleep(0)
    _stop(channel, owner)
    for each in (waiting, blocked):
        with pytest.raises(TaskCancelled):
            await each
    with pytest.raises(TaskCancelled):
        await channel.push("more")
    assert owner.pieces == []
    assert channel.cancelled


async def test_a_thread_is_at_most_so_far_ahead() -> None:
    """It hands over HAND_BYTES without waiting, then waits for room; at its end for all of it."""
    channel, owner = _channel(credit=1)
    made: list[int] = []
    flushed = threading.Event()

    def work() -> None:
        for n in range(20):
            channel.push_blocking("x" * 10_000)
            made.append(n)
        channel.flush_blocking()
        flushed.set()

    working = asyncio.create_task(asyncio.to_thread(work))
    await wait_until(lambda: len(made) >= 6, "it is ahead")
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(made) * 10_000 <= HAND_BYTES + 20_000
    while not flushed.is_set():
        channel.grant(10_000)
        await asyncio.sleep(0)
    await working
    assert len(owner.pieces) == 20


async def test_progress_never_waits_and_only_the_newest_is_told() -> None:
    """While there is no room it is kept, overwritten by newer, and told before the end."""
    channel, owner = _channel(credit=1)
    channel.progress(Progress(done=1, total=9))
    for done in (2, 3, 4):
        channel.progress(Progress(done=done, total=9))
    assert [data for _, data in owner.pieces] == [b'{"done":1,"total":9}']
    channel.finish()
    assert [data for _, data in owner.pieces[1:]] == [b'{"done":4,"total":9}']
    assert owner.pieces[1][0] is PieceKind.PROGRESS


async def test_without_a_reader_nothing_is_told() -> None:
    """In mode sync pieces and progress are dropped, events are not."""
    channel, owner = _channel(streams=False)
    await channel.push("piece")
    channel.progress(Progress(done=1))
    channel.emit("event", {"n": 1})
    assert owner.pieces == []
    assert owner.events == [("event", b'{"n":1}')]


async def test_events_from_threads_keep_their_order_and_are_bounded() -> None:
    """A thread that emits faster than the loop turns is stopped at a thousand."""
    channel, owner = _channel()
    for n in range(3):
        await asyncio.to_thread(channel.emit, "event", n)
    await wait_until(lambda: len(owner.events) == 3, "they were told")
    assert [data for _, data in owner.events] == [b"0", b"1", b"2"]

    flooding = threading.Thread(target=_flood, args=(channel, raised := []))
    flooding.start()
    flooding.join(10)
    assert len(raised) == 1
    await asyncio.sleep(0)
    assert len(owner.events) == 3 + MAX_WAITING_EVENTS


def _flood(channel: AttemptChannel, raised: list[ContextMisuse]) -> None:
    try:
        for n in range(MAX_WAITING_EVENTS + 1):
            channel.emit("event", n)
    except ContextMisuse as error:
        raised.append(error)


async def test_an_event_has_a_limit() -> None:
    """What is too large for one message of the link is refused where it is made."""
    channel, _ = _channel()
    with pytest.raises(ContextMisuse, match="at most"):
        channel.emit("event", "x" * MAX_EVENT_BYTES)


async def test_what_is_left_at_the_end_leaves_whatever_the_window_says() -> None:
    """A piece that a forgotten task of the function pushed is not lost in silence."""
    channel, owner = _channel(credit=0)
    forgotten = asyncio.create_task(channel.push("late"))
    await asyncio.sleep(0)
    channel.finish()
    assert owner.pieces == [(PieceKind.TEXT, b"late")]
    _stop(channel, owner)
    with pytest.raises(TaskCancelled):
        await forgotten
