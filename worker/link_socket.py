"""Accepts the socket of a link: takes the connection of a request over from aiohttp.

aiohttp's own WebSocket costs each frame a task switch either way, and can be sent to from
coroutines only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aiohttp import web
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from shared.edge.link_socket import LinkSocket

if TYPE_CHECKING:
    import asyncio

    from shared.edge.link_socket import Receiver


def accept_socket(request: web.Request, receiver: Receiver) -> LinkSocket:
    """Shake hands (RFC 6455 §4.2).

    The request's handler must not return before the socket is closed: the connection is not aiohttp's
    any more.

    Raises:
        HTTPBadRequest: the request asks for no WebSocket, or not as it should.
    """
    protocol = ServerProtocol()
    answer = protocol.accept(Request(request.raw_path, Headers(request.headers.items())))
    if answer.status_code != 101:
        raise web.HTTPBadRequest(text=bytes(answer.body).decode())
    transport = request.transport
    if transport is None or transport.is_closing():
        raise web.HTTPBadRequest(text="The caller has left")
    behind = cast("asyncio.Protocol", transport.get_protocol())
    socket = LinkSocket(receiver, client=False, behind=behind)
    protocol.send_response(answer)
    transport.write(b"".join(protocol.data_to_send()))
    transport.set_protocol(socket)
    socket.connection_made(transport)
    return socket
