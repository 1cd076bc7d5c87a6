"""The legacy slot socket on `/`, by which an Andera balancer watches this worker (contract §7).

The balancer offers its key as the WebSocket subprotocol. The worker accepts and echoes it, and only
then closes with 4001 when the key is wrong: a client library that gets no subprotocol back reports
a broken handshake and never sees the code. Text frames: `ping` is answered with the slots at once;
each second, and whenever something changes, the slots go out with services and system facts.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from shared.edge.codec import is_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNAUTHORIZED_CLOSE = 4001  # Andera's code
INTERVAL_S = 1.0  # between reports when nothing changes
MIN_INTERVAL_S = 0.01  # a busy worker changes thousands of times a second; nobody reads that often
PEER_TIMEOUT_S = 30.0  # a peer that answers no WebSocket ping is gone
MAX_MESSAGE = 4096  # the only message is `ping`


class SlotView(Protocol):
    """What the socket tells about a worker."""

    def slots(self) -> dict[str, object]:
        """Return `{"status", "slots"}`."""
        ...

    def full(self) -> dict[str, object]:
        """Return the same with `system` and `services`."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back on every change; the returned function ends that."""
        ...


class LegacySocket:
    """Serves the sockets of legacy balancers.

    Args:
        key: LB_AUTH_KEY.
        view: what to tell.
        interval_s: between two reports when nothing changes.
    """

    def __init__(self, key: str, view: SlotView, *, interval_s: float = INTERVAL_S) -> None:
        self._key = key
        self._view = view
        self._interval_s = interval_s
        self._open: set[web.WebSocketResponse] = set()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one socket until either side closes it."""
        offered = list(_offered(request))
        socket = web.WebSocketResponse(
            protocols=offered[:1],
            compress=False,
            heartbeat=PEER_TIMEOUT_S,
            max_msg_size=MAX_MESSAGE,
        )
        await socket.prepare(request)
        if not any(is_key(each, self._key) for each in offered[:1]):
            await socket.close(code=UNAUTHORIZED_CLOSE, message=b"Unauthorized")
            return socket
        self._open.add(socket)
        try:
            await self._talk(socket)
        finally:
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        """Close every socket, because the worker stops."""
        closing = [s.close(code=WSCloseCode.GOING_AWAY, message=b"Shutdown") for s in self._open]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        changed = asyncio.Event()
        unsubscribe = self._view.subscribe(changed.set)
        reporter = asyncio.create_task(self._report(socket, changed), name="legacy-slots")
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and message.data == "ping":
                    await socket.send_str(_json(self._view.slots()))
        except ConnectionError:
            pass  # it left while a report was on its way
        finally:
            unsubscribe()
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)

    async def _report(self, socket: web.WebSocketResponse, changed: asyncio.Event) -> None:
        """Send the slots each second and on each change; changes during a send share the next one."""
        while True:
            try:
                async with asyncio.timeout(self._interval_s):
                    await changed.wait()
            except TimeoutError:
                pass
            changed.clear()
            await socket.send_str(_json(self._view.full()))
            await asyncio.sleep(MIN_INTERVAL_S)


def _offered(request: web.Request) -> Iterator[str]:
    """Return the subprotocols that the client offers; what is not ASCII cannot be echoed."""
    for value in request.headers.getall("Sec-WebSocket-Protocol", ()):
        parts = (part.strip() for part in value.split(","))
        yield from (part for part in parts if part and part.isascii())


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
