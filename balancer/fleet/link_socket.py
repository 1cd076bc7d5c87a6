"""The socket of a link, at the dialling end: a WebSocket (RFC 6455) directly on an asyncio transport.

The protocol is the sans-I/O one of the `websockets` package. Its asyncio front is not used, because
there every frame costs a task switch at either end, and it can be sent to from coroutines only: a
link must be able to send in the middle of a loop turn (`LinkPort.dispatch`), so that the worker
runs the first tasks of a burst while the balancer still reads the others.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from shared.protocol.limits import MAX_FRAME

CLOSE_S = 1.0  # how long a closing handshake may take


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
    """One WebSocket.

    Args:
        protocol: of websockets.
        authorization: the header of the handshake.
        receiver: is told what comes.

    Attributes:
        full: the peer does not read as fast as we write: wait for `Receiver.writable`.
    """

    def __init__(self, protocol: ClientProtocol, authorization: str, receiver: Receiver) -> None:
        self.full = False
        self._protocol = protocol
        self._authorization = authorization
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []  # of a fragmented message
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()

    async def opened(self) -> None:
        """Wait for the end of the handshake.

        Raises:
            OSError: the connection broke.
            WebSocketException: the peer refused, or speaks no WebSocket.
        """
        await self._opened

    def send(self, frame: bytes) -> None:
        """Send a binary message; after the end it goes nowhere."""
        if self._transport is not None and not self._protocol.close_expected():
            self._protocol.send_binary(frame)
            self._write()

    async def close(self) -> None:
        """Shake hands for the last time, but not for ever."""
        if self._transport is not None and self._opened.done():
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._write()
            await asyncio.wait([self._gone], timeout=CLOSE_S)
        self.abort()

    def abort(self) -> None:
        """Cut it."""
        if self._transport is not None:
            self._transport.abort()

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        request = self._protocol.connect()
        request.headers["Authorization"] = self._authorization
        self._protocol.send_request(request)
        self._write()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._protocol.receive_data(data)
        self._take()

    def eof_received(self) -> bool | None:
        """Close: the peer has."""
        self._protocol.receive_eof()
        self._take()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the end, or that there was no beginning."""
        self._transport = None
        if not self._opened.done():
            self._opened.set_exception(exc or ConnectionResetError("closed in the handshake"))
        else:
            self._receiver.lost()
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

    def _take(self) -> None:
        events = self._protocol.events_received()
        if not self._opened.done():
            self._shake()
        for event in events:
            if isinstance(event, Frame):
                self._hear(event)
        self._write()

    def _shake(self) -> None:
        refusal = self._protocol.handshake_exc
        if refusal is not None:
            known = isinstance(refusal, InvalidHandshake)
            self._opened.set_exception(refusal if known else ConnectionResetError(str(refusal)))
            self.abort()
        elif self._protocol.state is not State.CONNECTING:
            self._opened.set_result(None)

    def _hear(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.BINARY and frame.fin:
            self._receiver.received(bytes(frame.data))
        elif opcode is Opcode.TEXT:
            self._protocol.fail(CloseCode.UNSUPPORTED_DATA, "a link speaks binary messages")
        elif opcode is Opcode.BINARY or opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                whole, self._parts = b"".join(self._parts), []
                self._receiver.received(whole)
        # Pings are answered, and closings, by the protocol itself.

    def _write(self) -> None:
        """Write what the protocol wants written."""
        transport = self._transport
        for data in self._protocol.data_to_send():
            if transport is None:
                continue
            if data:
                transport.write(data)
            elif transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()


async def open_socket(
    url: str, authorization: str, receiver: Receiver, timeout_s: float
) -> LinkSocket:
    """Connect and shake hands.

    Args:
        url: `ws://` or `wss://`.
        authorization: the header.
        receiver: is told what comes, maybe before this returns.
        timeout_s: for all of it.

    Raises:
        OSError, TimeoutError, WebSocketException: it could not be opened.
    """
    uri = parse_uri(url)
    protocol = ClientProtocol(uri, max_size=2 * MAX_FRAME)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        _, socket = await loop.create_connection(
            lambda: LinkSocket(protocol, authorization, receiver),
            uri.host, uri.port, ssl=True if uri.secure else None,
        )  # fmt: skip
        try:
            await socket.opened()
        except BaseException:
            socket.abort()
            raise
    return socket
