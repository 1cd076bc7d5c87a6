"""One connection while it is in the lane: reads, submits, answers, or hands over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

from shared.edge import limits
from shared.edge.answers import render_failure, render_outcome
from shared.edge.fast_lane.head import CONNECTION, LENGTH, Head
from shared.edge.headers import EdgeHeaders, sanitised_correlation_id
from shared.errors import Failure, failure

if TYPE_CHECKING:
    from shared.edge.answers import Answer
    from shared.edge.fast_lane.lane import FastLane
    from shared.task import Outcome, Piece

HEAD = 8 * 1024  # bytes of a head that is read here; aiohttp judges larger ones by its own limits
PIPELINED = 64 * 1024  # unread bytes behind a request that is being served; then reading pauses
_REQUEST_LINE = b"POST /task HTTP/1.1\r\n"
_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection while it is in the lane; it is the sink of the one task that it waits for."""

    __slots__ = (
        "_body_at",
        "_buffer",
        "_early",
        "_head",
        "_headers",
        "_lane",
        "_last",
        "_need",
        "_parser",
        "_paused",
        "_reading",
        "_since_s",
        "_taking",
        "_task_id",
        "_transport",
        "_waiting",
        "_writable",
    )  # fmt: skip

    def __init__(self, lane: FastLane) -> None:
        self._lane = lane
        self._transport: asyncio.Transport | None = None
        self._head = Head()
        self._parser = httptools.HttpRequestParser(self._head)
        self._buffer = bytearray()
        self._headers: EdgeHeaders | None = None  # of the request that is being read or served
        self._body_at = 0  # where its body begins; 0 while its head is incomplete
        self._need = 0  # bytes of head and body
        self._task_id: str | None = None
        self._waiting = False  # a task was submitted and has not ended
        self._taking = False  # it is being submitted just now
        self._early: Outcome | None = None  # it ended while it was being submitted
        self._last = (
            False  # the caller, or our shutdown, wants the connection closed after its answer
        )
        self._writable = True
        self._paused = False
        self._since_s = lane.now_s  # the last thing that moved
        self._reading = False  # within data_received or resume: no second reader

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._lane.connections.add(self)
        if self._lane.closing:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes; they wait while a request is being served."""
        self._buffer += data
        if self._waiting or not self._writable:
            if len(self._buffer) > PIPELINED and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
            return
        self._read()

    def eof_received(self) -> bool | None:
        """Close: a sender that has closed its half has left, as with the other shell."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what the caller waited for."""
        self._transport = None
        self._lane.connections.discard(self)
        if self._waiting and self._task_id is not None:
            self._waiting = False
            self._lane.desk.left(self._task_id)

    def pause_writing(self) -> None:
        """Serve nothing more until the client has read its answers."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        if not self._waiting:
            self._read()

    # From the lane

    def look(self, now_s: float) -> None:
        """End it when it was idle, or slow to send, for too long."""
        if self._waiting:
            return
        idle_s = now_s - self._since_s
        if self._buffer and self._writable:
            if idle_s > limits.BODY_TIMEOUT_S:
                named = self._named()
                late = render_failure(failure("request_timeout"), named)
                self._send(late, named.correlation_id or "", close=True)
        elif idle_s > limits.KEEP_ALIVE_S:
            self.abort() if self._buffer or not self._writable else self._close()

    def wind_up(self) -> None:
        """Close now, or after the answer that is due."""
        self._last = True
        if not self._waiting:
            self._close()

    def abort(self) -> None:
        """Cut it."""
        if self._transport is not None:
            self._transport.abort()

    # Reading

    def _read(self) -> None:
        """Serve what is complete, one request after the other."""
        if self._reading:
            return
        self._reading = True
        try:
            while self._buffer and not self._waiting and self._writable and self._transport:
                if not self._serve_one():
                    break
        finally:
            self._reading = False

    def _serve_one(self) -> bool:
        """Serve the first request if it is complete; False when nothing more can be done now."""
        buffer = self._buffer
        if not self._body_at and not self._read_head():
            return False
        headers = self._headers
        assert headers is not None
        if len(buffer) < self._need:
            # A stranger's body is not waited for; the other shell knows how to refuse and drain it.
            if self._lane.desk.authorize(headers) is not None:
                self._hand_over()
            return False
        refused = self._lane.desk.authorize(headers)
        body = bytes(memoryview(buffer)[self._body_at : self._need])
        if refused is not None:
            self._next_request(body)
            self._send(render_failure(refused, headers), headers.correlation_id or "")
            return True
        return self._take(body, headers)

    def _read_head(self) -> bool:
        """Read the head; False when it is incomplete or the connection was handed over."""
        buffer = self._buffer
        end = buffer.find(_END, 0, HEAD)
        if end < 0:
            plain = buffer.startswith(_REQUEST_LINE) or _REQUEST_LINE.startswith(buffer)
            if not plain or len(buffer) >= HEAD:
                self._hand_over()
            return False
        if not buffer.startswith(_REQUEST_LINE):
            self._hand_over()
            return False
        head = self._head
        head.reset()
        try:
            self._parser.feed_data(bytes(memoryview(buffer)[: end + 4]))
        except httptools.HttpParserError:
            self._hand_over()
            return False
        length = self._length()
        if length is None:
            self._hand_over()
            return False
        self._body_at = end + 4
        self._need = self._body_at + length
        self._headers = self._edge_headers(head.values)
        return True

    def _length(self) -> int | None:
        """Return the length of the body; None when this request is not for the lane."""
        head = self._head
        raw, connection = head.values[LENGTH], head.values[CONNECTION]
        if not head.complete or head.odd or raw is None or head.count > limits.MAX_HEADERS:
            return None
        if connection is not None and connection.lower() not in (b"keep-alive", b"close"):
            return None
        length = int(raw) if raw.isdigit() and len(raw) < 12 else None
        return length if length and length <= self._lane.body_limit else None

    def _edge_headers(self, values: list[bytes | None]) -> EdgeHeaders:
        self._last = self._lane.closing or (values[CONNECTION] or b"").lower() == b"close"
        given = [None if raw is None else raw.decode("utf-8", "surrogateescape") for raw in values]
        correlation = sanitised_correlation_id(given[5], limits.MAX_CORRELATION_ID)
        return EdgeHeaders(
            authorization=given[0], lb_auth=given[1], wr_auth=given[2], content_type=given[3],
            accept=given[4], correlation_id=correlation or self._lane.ids.next_id(),
            last_event_id=given[6], prefer=given[7], idempotency_key=given[8],
        )  # fmt: skip

    def _named(self) -> EdgeHeaders:
        """Return the headers of the request that is being read, or what an answer needs of them."""
        return self._headers or EdgeHeaders(correlation_id=self._lane.ids.next_id())

    # Serving

    def _take(self, body: bytes, headers: EdgeHeaders) -> bool:
        """Submit a request; False when the connection was handed over."""
        self._taking = True
        taken = self._lane.desk.take(body, headers, self)
        self._taking = False
        if taken is None:
            self._hand_over()
            return False
        self._next_request(body)
        if isinstance(taken, Failure):
            self._send(render_failure(taken, headers), headers.correlation_id or "")
        elif self._early is not None:
            early, self._early = self._early, None
            self._send(render_outcome(early, taken, headers), headers.correlation_id or "")
        else:
            self._task_id = taken
            self._headers = headers
            self._waiting = True
        return True

    def piece(self, piece: Piece) -> None:
        """Drop a piece: a sync caller waits for the end (shared.task.Sink)."""

    def finished(self, outcome: Outcome) -> None:
        """Answer (shared.task.Sink)."""
        if self._taking:
            self._early = outcome
            return
        if not self._waiting or self._transport is None:
            return
        self._waiting = False
        headers, task_id = self._named(), self._task_id or ""
        self._headers = self._task_id = None
        self._send(render_outcome(outcome, task_id, headers), headers.correlation_id or "")
        if self._buffer:
            # Not here: the engine is in the middle of the event that ended the task.
            asyncio.get_running_loop().call_soon(self._read)

    def _next_request(self, body: bytes) -> None:
        """Drop the request that was read, and keep the parser in step."""
        self._parser.feed_data(body)
        del self._buffer[: self._need]
        self._body_at = self._need = 0
        self._headers = None
        self._since_s = self._lane.now_s
        if self._paused and len(self._buffer) <= PIPELINED and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _send(self, answer: Answer, correlation: str, *, close: bool = False) -> None:
        transport = self._transport
        if transport is None:
            return
        last = close or self._last
        parts = [
            self._lane.head(answer), b"%d" % len(answer.body),
            b"\r\nx-correlation-id: ", correlation.encode(),
        ]  # fmt: skip
        for name, value in answer.headers:
            parts.append(f"\r\n{name}: {value}".encode("latin-1"))
        parts.append(b"\r\nConnection: close\r\n\r\n" if last else b"\r\n\r\n")
        parts.append(answer.body)
        transport.write(b"".join(parts))
        self._since_s = self._lane.now_s
        if last:
            self._close()

    def _close(self) -> None:
        self._buffer.clear()
        if self._transport is not None:
            self._transport.close()

    def _hand_over(self) -> None:
        """Give the connection to the other shell, for good, its unanswered bytes first."""
        transport = self._transport
        if transport is None:
            return
        self._lane.connections.discard(self)
        self._transport = None
        kept = bytes(self._buffer)
        self._buffer.clear()
        successor = self._lane.successor()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        if not self._writable:
            successor.pause_writing()
        if self._paused:
            transport.resume_reading()
        if kept:
            successor.data_received(kept)
