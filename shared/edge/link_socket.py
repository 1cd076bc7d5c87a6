"""The socket of a link, at either end, once the handshake is over: frames on an asyncio transport.

Sending is a plain call, so that a link can send in the middle of a loop turn, and what comes is
handed on within the read itself: no queue, no task switch. Each end makes the handshake its own way
(`balancer.fleet.link_socket`, `worker.link_socket`).
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol, cast

from websockets.utils import apply_mask

from shared.protocol.limits import MAX_FRAME
from shared.protocol.web_socket import (
    BINARY,
    CLOSE,
    KEY_SIZE,
    NORMAL,
    PING,
    PONG,
    FrameFault,
    FrameReader,
    closing,
    frame,
)

CLOSE_S = 1.0  # how long a closing handshake may take
MAX_MESSAGE = 2 * MAX_FRAME  # the machine judges its frames itself, and says why


class Receiver(Protocol):
    """Whom a socket tells what happens to it."""

    def received(self, frame: bytes) -> None:
        """Take a binary message."""
        ...

    def writable(self) -> None:
        """Send again: the socket, which was full, has room."""
        ...

    def lost(self) -> None:
        """Note that it is closed; called once, and nothing after it."""
        ...


class LinkSocket(asyncio.Protocol):
    """One WebSocket that is open.

    Args:
        receiver: is told what comes.
        client: this end has dialled, so it masks what it sends.
        behind: the protocol that had the connection before; told of its end, too.

    Attributes:
        full: the peer does not read as fast as we write: wait for `Receiver.writable`.
    """

    def __init__(
        self, receiver: Receiver, *, client: bool, behind: asyncio.Protocol | None = None
    ) -> None:
        self.full = False
        self._receiver = receiver
        self._client = client
        self._behind = behind
        self._reader = FrameReader(None if client else apply_mask, MAX_MESSAGE)
        self._transport: asyncio.Transport | None = None
        self._closing = False  # our Close was sent
        self._ending: asyncio.TimerHandle | None = None  # the peer has ended it
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, data: bytes) -> None:
        """Send a binary message; after the end it goes nowhere."""
        if not self._closing:
            self._write(BINARY, data)

    async def close(self, code: int = NORMAL) -> None:
        """Shake hands for the last time, but not for ever."""
        self._part(code)
        try:
            await asyncio.wait([self._gone], timeout=CLOSE_S)
        finally:
            self.abort()

    @property
    def unsent(self) -> int:
        """Return the bytes that the transport still holds."""
        return 0 if self._transport is None else int(self._transport.get_write_buffer_size())

    def abort(self) -> None:
        """Cut it."""
        if self._transport is not None:
            self._transport.abort()

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self._ending is not None:
            return
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode == BINARY:
                    self._receiver.received(payload)
                elif (
                    opcode == PING and not self.full
                ):  # who does not read fills no memory with Pongs
                    self._write(PONG, payload)
                elif opcode == CLOSE:
                    self._end(NORMAL)
                    return
        except FrameFault as fault:
            self._end(fault.code)

    def eof_received(self) -> bool | None:
        """Close, too."""
        self._end(NORMAL)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the end."""
        self._transport = None
        self._closing = True
        if self._ending is not None:
            self._ending.cancel()
        self._receiver.lost()
        if self._behind is not None:
            self._behind.connection_lost(exc)
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        """Note that the peer does not read."""
        self.full = True

    def resume_writing(self) -> None:
        """Go on."""
        self.full = False
        self._receiver.writable()

    # Private

    def _part(self, code: int) -> None:
        """Say that nothing follows; once."""
        if not self._closing:
            self._write(CLOSE, closing(code))
            self._closing = True

    def _end(self, code: int) -> None:
        """Close once what is written has left; a peer that does not take it has a moment only."""
        self._part(code)
        if self._transport is not None and self._ending is None:
            self._transport.close()
            self._ending = asyncio.get_running_loop().call_later(CLOSE_S, self.abort)

    def _write(self, opcode: int, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._client:
            transport.write(frame(opcode, data, os.urandom(KEY_SIZE), apply_mask))
        else:
            transport.write(frame(opcode, data))
