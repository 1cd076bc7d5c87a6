"""A stream on its way to one reader: a `Sink` with a bounded buffer, credit and resume; no I/O.

The producer calls `piece` and `finished`; the shell attaches a reader, takes bytes when the reader
is notified, and says when they were written, left or replaced. Credit for a piece is granted when
its bytes have gone to the socket, so that a slow client slows the function down. Only SSE can be
resumed: events stay in a ring after they were sent, and a reader that leaves may come back within
RESUME_GRACE; a plain or NDJSON reader that leaves ends the task at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from shared.edge import limits
from shared.edge.stream_format import StreamFormat, encode_event, encode_piece, ending
from shared.errors import Failure, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.task import Outcome, Piece


class Timer(Protocol):
    """Something that will happen unless it is cancelled."""

    def cancel(self) -> None:
        """Call it off; a second time does nothing."""
        ...


class Timers(Protocol):
    """What can call later; an asyncio loop satisfies it."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer:
        """Call the callback once, in so many seconds."""
        ...


class _Event:
    """One encoded event: its number, its bytes, and the credit it takes until it is sent."""

    __slots__ = ("credit", "data", "number")

    def __init__(self, number: int, data: bytes, credit: int) -> None:
        self.number = number
        self.data = data
        self.credit = credit


def _nothing() -> None:
    """Do nothing."""


def _no_grant(size: int) -> None:
    """Do nothing."""


class StreamSink:
    """Where the pieces and the end of a streaming task go.

    Args:
        form: how the stream looks on the wire.
        timers: what can call later.
        grace_s: how long an SSE reader may be away.
        ring_events, ring_bytes: sent events that are kept for one that comes back.
        max_pending: unread bytes at which the producer counts as broken.
    """

    def __init__(
        self,
        form: StreamFormat,
        timers: Timers,
        *,
        grace_s: float = limits.RESUME_GRACE_S,
        ring_events: int = limits.RING_EVENTS,
        ring_bytes: int = limits.RING_BYTES,
        max_pending: int = limits.MAX_PENDING,
    ) -> None:
        self.form = form
        self.task_id = ""
        self.outcome: Outcome | None = None
        self._timers = timers
        self._grace_s = grace_s
        self._ring_events = ring_events
        self._ring_bytes = ring_bytes
        self._max_pending = max_pending
        # Lists, though they are taken from the front: an empty deque takes 600 bytes, and a thousand
        # idle streams have two each.
        self._pending: list[_Event] = []
        self._pending_bytes = 0
        self._ring: list[_Event] = []
        self._kept_bytes = 0
        self._count = 0  # events made
        self._ungranted = 0  # credit of what a reader has taken but not written
        self._reader: StreamReader | None = None
        self._grace: Timer | None = None
        self._overrun: Failure | None = None
        self._told = False  # a reader has taken something
        self._left = False
        self._on_grant: Callable[[int], None] = _no_grant
        self._on_leave: Callable[[], None] = _nothing

    def bind(
        self, task_id: str, *, on_grant: Callable[[int], None], on_leave: Callable[[], None]
    ) -> None:
        """Name the task, once it is submitted, and what is to be told.

        Args:
            task_id: id of the task.
            on_grant: takes bytes of credit, as pieces reach the socket.
            on_leave: called once, when nobody reads the stream any more: cancel the task.
        """
        self.task_id = task_id
        self._on_grant = on_grant
        self._on_leave = on_leave

    # From the producer (shared.task.Sink)

    def piece(self, piece: Piece) -> None:
        """Take one piece."""
        if self.outcome is not None or self._left or self._overrun is not None:
            return
        data = encode_piece(self.form, self._count + 1, piece)
        if not data:  # left out of this form: nobody will write it
            if piece.data:
                self._on_grant(len(piece.data))
            return
        if self._pending_bytes > self._max_pending:
            self._break(failure("protocol_error", "Stream overran its flow control"))
        else:
            self._add(data, len(piece.data))
        self._notify()

    def finished(self, outcome: Outcome) -> None:
        """Take the end."""
        if self.outcome is not None:
            return
        self._stop_grace()
        self.outcome = outcome
        told = outcome.ok or self.started
        if told and self.form is not StreamFormat.TEXT and self._overrun is None:
            for event, data in ending(outcome, self.task_id):
                self._add(encode_event(self.form, self._count + 1, event, data), 0)
        self._notify()

    @property
    def started(self) -> bool:
        """Tell whether there is anything to write: the answer is a stream, not a status."""
        return self._count > 0

    @property
    def held_bytes(self) -> int:
        """Return the bytes of the events that are held: unread, and sent but kept."""
        return self._pending_bytes + self._kept_bytes

    @property
    def overrun(self) -> Failure | None:
        """Return why the producer counts as broken, when it does."""
        return self._overrun

    # From the shell

    def attach(self, last_event_id: int = 0) -> StreamReader | Failure:
        """Let a reader take over from the one before, if any.

        Args:
            last_event_id: number of the last event that it has; 0 for none.

        Returns:
            the reader, or a failure when events that it lacks are no longer kept.
        """
        sent = self._pending[0].number - 1 if self._pending else self._count
        oldest = self._ring[0].number if self._ring else sent + 1
        if last_event_id + 1 < oldest:
            text = f"Events after {last_event_id} are no longer kept"
            return failure("not_found", text)
        self._stop_grace()
        self._grant_taken()
        again = [event for event in self._ring if event.number > last_event_id]
        size = sum(len(event.data) for event in again)
        del self._ring[len(self._ring) - len(again) :]
        self._kept_bytes -= size
        self._pending[:0] = again
        self._pending_bytes += size
        previous, self._reader = self._reader, StreamReader(self)
        if previous is not None:
            previous.notify()
        return self._reader

    # From the reader

    def take(self, size: int) -> bytes:
        """Hand out the next events, at least one and about so many bytes; b"" when none waits."""
        if not self._pending:
            return b""
        self._told = True
        count, total = 0, 0
        for event in self._pending:
            total += len(event.data)
            if count and total > size:
                total -= len(event.data)
                break
            count += 1
            self._ungranted += event.credit
            event.credit = 0
        taken = self._pending[:count]
        del self._pending[:count]
        self._pending_bytes -= total
        if self.form is StreamFormat.SSE:
            self._keep(taken, total)
        return taken[0].data if count == 1 else b"".join([event.data for event in taken])

    def written(self) -> None:
        """Grant the credit of what was taken."""
        self._grant_taken()

    def leave(self, reader: StreamReader) -> None:
        """Note that a reader is gone; one that was replaced changes nothing."""
        if reader is not self._reader:
            return
        self._reader = None
        self._grant_taken()
        if self.outcome is not None or self._left:
            return
        # Who was told nothing yet does not know the task's id and cannot come back.
        if self.form is StreamFormat.SSE and self._told:
            self._grace = self._timers.call_later(self._grace_s, self._abandon)
        else:
            self._abandon()

    def is_current(self, reader: StreamReader) -> bool:
        """Tell whether no other reader has taken over."""
        return reader is self._reader

    @property
    def drained(self) -> bool:
        """Tell whether nothing waits and nothing more will come."""
        return not self._pending and (self.outcome is not None or self._overrun is not None)

    # Private

    def _add(self, data: bytes, credit: int) -> None:
        self._count += 1
        self._pending.append(_Event(self._count, data, credit))
        self._pending_bytes += len(data)

    def _keep(self, taken: list[_Event], size: int) -> None:
        """Keep events that were taken for a reader who comes back; the oldest make room."""
        ring = self._ring
        ring += taken
        self._kept_bytes += size
        dropped = 0
        while len(ring) - dropped > self._ring_events or self._kept_bytes > self._ring_bytes:
            self._kept_bytes -= len(ring[dropped].data)
            dropped += 1
        del ring[:dropped]

    def _grant_taken(self) -> None:
        size, self._ungranted = self._ungranted, 0
        if size:
            self._on_grant(size)

    def _break(self, reason: Failure) -> None:
        self._overrun = reason
        self._pending.clear()
        self._pending_bytes = 0
        self._abandon()

    def _abandon(self) -> None:
        self._grace = None
        if not self._left:
            self._left = True
            self._on_leave()

    def _stop_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _notify(self) -> None:
        if self._reader is not None:
            self._reader.notify()


class StreamReader:
    """One connection that reads a stream; made by `StreamSink.attach`.

    Attributes:
        notify: called whenever there may be something new; set by the shell.
    """

    __slots__ = ("_sink", "notify")

    def __init__(self, sink: StreamSink) -> None:
        self._sink = sink
        self.notify: Callable[[], None] = _nothing

    @property
    def decided(self) -> bool:
        """Tell whether the shell can begin: with a status (`verdict`) or with a stream."""
        return self._sink.started or self._sink.drained or self.replaced

    @property
    def verdict(self) -> Failure | None:
        """Return the failure to answer with: the task failed before its first piece."""
        sink = self._sink
        if sink.started or sink.outcome is None or sink.outcome.ok:
            return None
        return sink.outcome.failure or failure("internal_error")

    def take(self, size: int = limits.MAX_WRITE) -> bytes:
        """Return what is to be written next; b"" when nothing waits."""
        return b"" if self.replaced else self._sink.take(size)

    def written(self) -> None:
        """Say that what was taken has gone to the socket: credit is granted."""
        if not self.replaced:
            self._sink.written()

    def leave(self) -> None:
        """Say that the connection is gone; after the end of the stream it only lets go."""
        self._sink.leave(self)
        self.notify = _nothing  # the shell's: sink and connection would keep each other alive

    @property
    def done(self) -> bool:
        """Tell whether everything was taken and nothing more will come."""
        return self.replaced or self._sink.drained

    @property
    def ending(self) -> bool:
        """Tell whether the task has ended, so that only what is buffered remains to be written."""
        return self._sink.outcome is not None

    @property
    def replaced(self) -> bool:
        """Tell whether another reader has taken over."""
        return not self._sink.is_current(self)

    @property
    def broken(self) -> bool:
        """Tell whether the connection must end as a broken transfer, not as a short success.

        Plain text has no other way to tell a failure after its first piece.
        """
        sink = self._sink
        if self.replaced or sink.overrun is not None:
            return True
        failed = sink.outcome is not None and not sink.outcome.ok
        return failed and sink.form is StreamFormat.TEXT
