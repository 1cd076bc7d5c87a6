"""One connection while it is in the lane: reads, submits, answers, or hands over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from shared.edge import limits
from shared.edge.answers import render_failure, render_outcome
from shared.edge.fast_lane.head import MAX_HEAD, REQUEST_LINE
from shared.errors import CabrankError, Failure, failure
from shared.log import Log, correlation_id

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from shared.edge.answers import Answer
    from shared.edge.fast_lane.head import Head
    from shared.edge.fast_lane.lane import FastLane
    from shared.task import Outcome, Piece

PIPELINED = 64 * 1024  # unread bytes behind a request that is being served; then reading pauses
JOINED = (
    32 * 1024
)  # bytes of a body up to which it is cheaper to copy it behind its head than to write twice
SLOW_S = (
    1.5  # a request that is incomplete for so long is left to the other shell, and its time-outs
)
_END = b"\r\n\r\n"

_log = Log("http")


class Connection(asyncio.Protocol):
    """One connection while it is in the lane; it is the sink of the one task that it waits for."""

    __slots__ = (
        "_buffer",
        "_busy",
        "_correlation_id",
        "_early",
        "_head",
        "_lane",
        "_later",
        "_partial_s",
        "_paused",
        "_since_s",
        "_task_id",
        "_transport",
        "_unsent",
        "_writable",
    )

    def __init__(self, lane: FastLane) -> None:
        self._lane = lane
        self._transport: asyncio.Transport | None = None
        self._buffer: bytes | bytearray = b""  # what was received and is not yet served
        self._head: Head | None = None  # of the request that is being read or served
        self._busy = False  # a request is being served
        self._correlation_id = ""  # of the request that is being served
        self._task_id: str | None = None  # the task that it waits for
        self._early: Outcome | None = None  # the end of a task that ended while it was submitted
        self._later: asyncio.Task[None] | None = None  # what waits for an answer that takes longer
        self._writable = True
        self._paused = False  # reading is
        self._since_s = lane.now_s  # the last thing that moved
        self._partial_s = (
            -1.0
        )  # when a sweep first saw the request incomplete; older ones do not count
        self._unsent: int = 0  # bytes that the client had not taken at the last sweep

    @property
    def unread(self) -> int:
        """Return the bytes that were received and not yet served."""
        return len(self._buffer)

    @property
    def writable(self) -> bool:
        """Tell whether the client takes its answers."""
        return self._writable

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._lane.connections.add(self)
        if self._lane.closing:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes; they wait while a request is being served."""
        buffer = self._buffer
        if not buffer:
            self._buffer = data
        elif isinstance(buffer, bytearray):
            buffer += data
        else:
            self._buffer = bytearray(buffer) + data
        if not self._busy and self._writable:
            self._read()
        elif len(self._buffer) > PIPELINED and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool | None:
        """Close: a sender that has closed its half has left, as with the other shell."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what the caller waited for."""
        self._transport = None
        self._buffer = b""
        self._lane.forget(self)
        if self._task_id is not None:
            task_id, self._task_id = self._task_id, None
            self._lane.desk.left(task_id)
        elif self._later is not None:
            self._later.cancel()

    def pause_writing(self) -> None:
        """Serve nothing more until the client has read its answers."""
        self._writable = False
        self._unsent = 0

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self._go_on()

    # From the lane

    def look(self, now_s: float) -> None:
        """End it when it was idle for too long; let go of it when its sender is slow."""
        transport = self._transport
        if self._busy or transport is None:
            return
        quiet_s = now_s - self._since_s
        if not self._writable:
            unsent = int(transport.get_write_buffer_size())
            if unsent != self._unsent:
                self._unsent, self._since_s = unsent, now_s
            elif quiet_s > limits.LINGER_S:
                transport.abort()
        elif self._buffer:
            if self._partial_s <= self._since_s:
                self._partial_s = now_s
            elif now_s - self._partial_s > SLOW_S:
                self._hand_over()
        elif quiet_s > limits.KEEP_ALIVE_S + limits.LINGER_S:
            transport.abort()  # its last answer is never read
        elif quiet_s > limits.KEEP_ALIVE_S:
            self._close()

    def wind_up(self) -> None:
        """Close now, or after the answer that is due."""
        if not self._busy:
            self._close()

    def abort(self) -> None:
        """Cut it."""
        if self._transport is not None:
            self._transport.abort()

    # Reading

    def _go_on(self) -> None:
        """Read on, once the last answer is written."""
        transport = self._transport
        if self._busy or not self._writable or transport is None or transport.is_closing():
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()
        self._read()

    def _read(self) -> None:
        """Serve what is complete, one request after the other."""
        while self._buffer and not self._busy and self._writable:
            head = self._head or self._read_head()
            if head is None or len(self._buffer) < head.end:
                return
            self._serve(head)

    def _read_head(self) -> Head | None:
        """Read a head; None when it is incomplete or the connection was handed over."""
        buffer = self._buffer
        end = buffer.find(_END, 0, MAX_HEAD)
        if end < 0:
            begun = buffer.startswith(REQUEST_LINE) or REQUEST_LINE.startswith(buffer)
            if not begun or len(buffer) >= MAX_HEAD:
                self._hand_over()
            return None
        head = self._lane.heads.read(bytes(buffer[: end + 4]))
        # A stranger's body is not waited for: the other shell knows how to refuse and drain it.
        if head is None or (head.refused is not None and len(buffer) < head.end):
            self._hand_over()
            return None
        self._head = head
        return head

    # Serving

    def _serve(self, head: Head) -> None:
        """Serve the first request, which is complete."""
        self._correlation_id = head.correlation_id or self._lane.ids.next_id()
        self._busy = True
        if head.refused is not None:
            self._drop(head.end)
            self._lane.desk.refused(head.refused, self._correlation_id)
            self._send(render_failure(head.refused, head.headers))
            return
        buffer, cut = self._buffer, b""
        body: bytes | bytearray
        if isinstance(buffer, bytes):
            body = buffer[head.size : head.end]
        elif len(buffer) > head.end:
            body = bytes(memoryview(buffer)[head.size : head.end])
        else:  # in several reads, with nothing behind it: not copied, that takes 10 ms for 10 MB
            body, cut = buffer, bytes(buffer[: head.size])
            del buffer[: head.size]
        try:
            taken = self._lane.desk.take(body, head.headers, self._correlation_id, self)
        except Exception as exc:
            # The last answer here: whoever took half a task may still tell this sink of its end.
            self._send(render_failure(_told(exc), head.headers), last=True)
            return
        if taken is None:
            self._busy = False
            self._buffer = cut + buffer if cut else buffer
            self._hand_over()
            return
        self._drop(head.end - len(cut))
        self._took(taken, head)

    def _took(self, taken: str | Failure | Coroutine[object, object, Answer], head: Head) -> None:
        """Wait for the end of what was submitted, or answer."""
        if isinstance(taken, str):
            self._task_id = taken
            if self._early is not None:
                early, self._early = self._early, None
                self.finished(early)
        elif isinstance(taken, Failure):
            self._send(render_failure(taken, head.headers))
        else:
            self._later = asyncio.get_running_loop().create_task(self._wait(taken, head))

    async def _wait(self, coming: Coroutine[object, object, Answer], head: Head) -> None:
        """Answer when the answer is there."""
        correlation_id.set(self._correlation_id)
        try:
            answer = await coming
        except asyncio.CancelledError:
            self.abort()  # the process ends, or the caller is gone already
            raise
        except Exception as exc:
            answer = render_failure(_told(exc), head.headers)
        self._later = None
        self._send(answer)
        self._go_on()

    def piece(self, piece: Piece) -> None:
        """Drop a piece: a sync caller waits for the end (shared.task.Sink)."""

    def finished(self, outcome: Outcome) -> None:
        """Answer (shared.task.Sink)."""
        task_id, head = self._task_id, self._head
        if task_id is None or head is None:
            if self._busy and self._transport is not None:
                self._early = outcome  # it is being submitted just now
            return  # else the caller has left
        self._task_id = None
        self._send(render_outcome(outcome, task_id, head.headers))
        if self._buffer or self._paused:
            # Not here: the engine is in the middle of the event that ended the task.
            asyncio.get_running_loop().call_soon(self._go_on)

    def _drop(self, size: int) -> None:
        """Drop the request that is being served from what was received."""
        buffer = self._buffer
        if len(buffer) == size:
            self._buffer = b""
        elif isinstance(buffer, bytearray):
            del buffer[:size]
        else:
            self._buffer = bytearray(memoryview(buffer)[size:])

    def _send(self, answer: Answer, *, last: bool = False) -> None:
        """Answer the request that is being served."""
        lane, head, transport = self._lane, self._head, self._transport
        self._head = None
        self._busy = False
        self._since_s = lane.now_s
        if transport is None:
            return
        last = last or lane.closing or (head is not None and head.close)
        raw, body = lane.responses.head(answer, self._correlation_id, last=last), answer.body
        if len(body) <= JOINED:
            lane.write(transport, raw + body)
        else:
            lane.flush()
            transport.write(raw)
            transport.write(body)
        if last:
            self._close()

    def _close(self) -> None:
        self._lane.flush()
        self._buffer = b""
        if self._transport is not None:
            self._transport.close()

    def _hand_over(self) -> None:
        """Give the connection to the other shell, for good, its unanswered bytes first."""
        transport, lane = self._transport, self._lane
        if transport is None:
            return
        lane.flush()
        kept = bytes(self._buffer)
        self._transport, self._head, self._buffer = None, None, b""
        lane.handed_over += 1
        lane.forget(self)
        successor = lane.successor()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        successor.data_received(kept)


def _told(exc: Exception) -> Failure:
    """Return what a caller is told of an exception."""
    if isinstance(exc, CabrankError):  # such as a store that is out
        return exc.failure
    _log.exception("POST /task failed", exc, action="http.failed")
    return failure("internal_error")
