"""Dials the socket of a link: the client's end of a WebSocket handshake (RFC 6455 §4.1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.protocol import State
from websockets.uri import parse_uri

from shared.edge.link_socket import LinkSocket

if TYPE_CHECKING:
    from shared.edge.link_socket import Receiver

MAX_HEAD = 64 * 1024  # bytes of the head of a handshake's answer
_END = b"\r\n\r\n"


class _Handshake(asyncio.Protocol):
    """Asks for the upgrade, and gives the connection to a `LinkSocket` when it is granted."""

    def __init__(self, protocol: ClientProtocol, authorization: str, receiver: Receiver) -> None:
        self.opened: asyncio.Future[LinkSocket] = asyncio.get_running_loop().create_future()
        self._protocol = protocol
        self._authorization = authorization
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        request = self._protocol.connect()
        request.headers["Authorization"] = self._authorization
        self._protocol.send_request(request)
        self._transport.write(b"".join(self._protocol.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """Read the answer, up to its end: what follows are frames."""
        if self._refused:
            self._read_refusal(data)
            return
        self._answer += data
        head, end, rest = self._answer.partition(_END)
        if not end:
            if len(head) > MAX_HEAD:
                self._refuse(ConnectionResetError("the answer to the handshake is too long"))
            return
        self._protocol.receive_data(head + end)
        if self._protocol.state is State.OPEN and not self.opened.done():
            self._hand_over(rest)
        else:
            self._refused = True
            self._read_refusal(rest)

    def eof_received(self) -> bool | None:
        """Close: the peer has."""
        self._protocol.receive_eof()
        self._judge(self._protocol.handshake_exc)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that there was no beginning."""
        self._transport = None
        self._refuse(exc or ConnectionResetError("closed in the handshake"))

    def abort(self) -> None:
        """Cut it."""
        if self._transport is not None:
            self._transport.abort()

    def _hand_over(self, rest: bytes) -> None:
        assert self._transport is not None, "it has just been read from"
        socket = LinkSocket(self._receiver, client=True)
        self._transport.set_protocol(socket)
        socket.connection_made(self._transport)
        self.opened.set_result(socket)
        if rest:
            socket.data_received(rest)

    def _read_refusal(self, data: bytes) -> None:
        """Read the body that comes with a refusal; the protocol bounds it."""
        if data:
            self._protocol.receive_data(data)
        self._judge(self._protocol.handshake_exc)

    def _judge(self, refusal: Exception | None) -> None:
        if refusal is not None:
            known = isinstance(refusal, InvalidHandshake)
            self._refuse(refusal if known else ConnectionResetError(str(refusal)))

    def _refuse(self, error: Exception) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
        self.abort()


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
    protocol = ClientProtocol(uri)
    async with asyncio.timeout(timeout_s):
        _, handshake = await asyncio.get_running_loop().create_connection(
            lambda: _Handshake(protocol, authorization, receiver),
            uri.host, uri.port, ssl=True if uri.secure else None,
        )  # fmt: skip
        try:
            return await handshake.opened
        except BaseException:
            handshake.abort()
            raise
