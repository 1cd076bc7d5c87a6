"""What a running function says on its way: pieces, progress, events; from the loop or from a thread.

    function ──push──▶ pending ──while the window is open──▶ owner (link or direct caller)
                 ▲                                             │
                 └──────────── waits for room ◀──── grant ─────┘

Only the loop moves pieces out of `pending`, so pieces keep their order whoever makes them. A
coroutine waits until its piece has left; a thread may be HAND_BYTES ahead, because a hop to the loop
and back for every line would cost more than the line, and waits for the rest at its end.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING

from shared.errors import TaskCancelled
from shared.task import PieceKind
from worker.authoring.context import ContextMisuse
from worker.core.stream_window import StreamWindow
from worker.outcome import encode_json, encode_piece

if TYPE_CHECKING:
    from worker.attempt import Attempt
    from worker.authoring.context import JsonValue, PieceValue, Progress

HAND_BYTES = 64 * 1024  # what a thread may be ahead of the loop
MAX_EVENT_BYTES = 60 * 1024  # fits one message of the link; what is larger belongs into a result
MAX_WAITING_EVENTS = 1000  # events never wait for a reader, so somebody must say stop


class AttemptChannel:
    """The channel of one attempt; implements `worker.authoring.context.Channel`.

    Args:
        attempt: whose pieces these are.
        loop: the worker's loop; the channel is made on its thread.
    """

    __slots__ = (
        "_attempt",
        "_events",
        "_loop",
        "_loop_thread",
        "_pending",
        "_pending_bytes",
        "_progress",
        "_room",
        "_scheduled",
        "_waiting",
        "window",
    )

    def __init__(self, attempt: Attempt, loop: asyncio.AbstractEventLoop) -> None:
        self.window = StreamWindow(attempt.credit)
        self._attempt = attempt
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._pending: deque[tuple[PieceKind, bytes]] = deque()
        self._pending_bytes = 0  # guarded by _room, because threads add and the loop takes away
        self._progress: bytes | None = None  # only the newest is worth telling
        self._events: deque[tuple[str, bytes]] = deque()
        self._room = threading.Condition()
        self._scheduled = False
        self._waiting: list[asyncio.Future[None]] = []

    # What the function calls

    @property
    def cancelled(self) -> bool:
        """Tell whether the attempt is to stop; read from any thread."""
        return self._attempt.outcome is not None

    async def push(self, piece: PieceValue) -> None:
        """Send a piece from the loop and wait until it has left."""
        self._check()
        if self._attempt.streams:
            await self.push_encoded(*encode_piece(piece))

    async def push_encoded(self, kind: PieceKind, data: bytes) -> None:
        """Do the same with a piece that another process has encoded."""
        self._check()
        if not self._attempt.streams:
            return
        self._hand(kind, data)
        self._drain()
        while self._pending:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter
            self._check()

    def push_blocking(self, piece: PieceValue) -> None:
        """Send a piece from a thread; block while too much of what it sent has not left."""
        self._check()
        if not self._attempt.streams:
            return
        self._hand(*encode_piece(piece))
        self._schedule()
        self._wait_below(HAND_BYTES)

    def flush_blocking(self) -> None:
        """Block the thread until all it sent has left, or nobody wants it any more."""
        if self._pending and not self.cancelled:
            self._wait_below(1)

    def progress(self, progress: Progress) -> None:
        """Tell how far the function is; an older progress that has not left yet is forgotten."""
        self.progress_encoded(encode_json(progress.wire()))

    def progress_encoded(self, progress: bytes) -> None:
        """Do the same with JSON text."""
        if self._attempt.streams and not self.cancelled:
            self._progress = progress
            self._schedule()

    def emit(self, name: str, data: JsonValue) -> None:
        """Publish an event."""
        self.emit_encoded(name, encode_json(data))

    def emit_encoded(self, name: str, data: bytes) -> None:
        """Do the same with JSON text."""
        check_event(name, data)
        if len(self._events) >= MAX_WAITING_EVENTS:
            raise ContextMisuse(f"more than {MAX_WAITING_EVENTS} events were emitted at once")
        self._events.append((name, data))
        self._schedule()

    # What the engine calls, on the loop

    def grant(self, size: int) -> None:
        """Let more bytes leave."""
        self.window.grant(size)
        self._drain()

    def stop(self) -> None:
        """Wake whoever waits for room, to find that the attempt is decided."""
        self._pending.clear()
        with self._room:
            self._pending_bytes = 0
            self._room.notify_all()
        self._wake()

    def finish(self) -> None:
        """Tell what is left, whatever the window says: the function has ended and nothing follows."""
        self._tell_events()
        while self._pending:
            self._tell(*self._pending.popleft())
        if self._progress is not None:
            self._tell(PieceKind.PROGRESS, self._progress)
            self._progress = None

    # Inside

    def _check(self) -> None:
        if self._attempt.outcome is not None:
            raise TaskCancelled

    def _hand(self, kind: PieceKind, data: bytes) -> None:
        if data:  # an empty piece says nothing, and would cost its reader no credit
            with self._room:
                self._pending.append((kind, data))
                self._pending_bytes += len(data)

    def _wait_below(self, limit: int) -> None:
        with self._room:
            while self._pending_bytes >= limit and self._attempt.outcome is None:
                self._room.wait()
        self._check()

    def _schedule(self) -> None:
        if threading.get_ident() == self._loop_thread:
            self._drain()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        """Let leave what the window allows. On the loop."""
        self._scheduled = False  # before looking: what a thread adds from now on schedules again
        self._tell_events()
        if self.cancelled:
            return
        taken = 0
        while self._pending and self.window.open:
            kind, data = self._pending.popleft()
            taken += len(data)
            self._tell(kind, data)
        if self._progress is not None and not self._pending and self.window.open:
            progress, self._progress = self._progress, None
            self._tell(PieceKind.PROGRESS, progress)
        if taken:
            with self._room:
                self._pending_bytes -= taken
                self._room.notify_all()
        if not self._pending:
            self._wake()

    def _tell(self, kind: PieceKind, data: bytes) -> None:
        self._attempt.owner.piece(self._attempt, self.window.add(kind, data))

    def _tell_events(self) -> None:
        while self._events:
            self._attempt.owner.event(self._attempt, *self._events.popleft())

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


def check_event(name: str, data: bytes) -> None:
    """Refuse an event that no message of the link holds.

    Raises:
        ContextMisuse: it is too large.
    """
    if len(data) + len(name) > MAX_EVENT_BYTES:
        raise ContextMisuse(f"an event has at most {MAX_EVENT_BYTES} bytes; '{name}' has more")
