"""The shell of a link: an aiohttp WebSocket on `/link` around the machine that speaks the protocol.

One task reads, which is the request's own; one writes: it sleeps until the machine has something,
so that all that gets ready in one turn of the loop leaves in one frame, and it waits for the socket
to drain between two frames.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode, WSMsgType, web

from shared.edge.codec import is_key
from shared.protocol.limits import MAX_FRAME, PART_BYTES
from shared.protocol.worker_link import WorkerLink
from worker.session import LinkSession

if TYPE_CHECKING:
    from shared.clock import Clock
    from worker.peers import Peers

TICK_S = 1.0  # three looks at a silence of three seconds
HELLO_TIMEOUT_S = 10.0  # an open socket that says nothing is no balancer
CLOSE_TIMEOUT_S = 2.0  # how long a peer may take to say that it closes too
SEND_TIMEOUT_S = 30.0  # a peer that takes no byte for so long is gone


class LinkServer:
    """Serves the links of balancers.

    Args:
        peers: the balancers.
        clock: tells the machines the time.
        key: LB_AUTH_KEY.
        heartbeat_interval_s: seconds between two pings.
        heartbeat_timeout_s: seconds without anything after a ping that make a silence.
    """

    def __init__(
        self,
        peers: Peers,
        clock: Clock,
        key: str,
        *,
        heartbeat_interval_s: float = 3.0,
        heartbeat_timeout_s: float = 3.0,
    ) -> None:
        self._peers = peers
        self._clock = clock
        self._key = key
        self._heartbeat_interval_s = heartbeat_interval_s
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._open: set[_LinkSocket] = set()
        self._leaving = False

    def authorized(self, request: web.Request) -> bool:
        """Tell whether a request carries LB_AUTH_KEY; `Bearer ` before it is optional."""
        return is_key(request.headers.get("Authorization"), self._key)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one link until either side ends it."""
        if not self.authorized(request):
            body = {"success": False, "error": "Unauthorized", "code": "unauthorized"}
            return web.json_response(body, status=401)
        if self._leaving:  # who has been told Goodbye dials again at once
            body = {"success": False, "error": "Worker is stopping", "code": "shutting_down"}
            return web.json_response(body, status=503)
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=MAX_FRAME, timeout=CLOSE_TIMEOUT_S
        )
        await socket.prepare(request)
        session = LinkSession(self._peers)
        shell = _LinkSocket(socket, self._clock)
        session.link = WorkerLink(
            session,
            shell,
            heartbeat_interval_s=self._heartbeat_interval_s,
            heartbeat_timeout_s=self._heartbeat_timeout_s,
        )
        self._open.add(shell)
        try:
            await shell.serve(session)
        finally:
            self._open.discard(shell)
        return socket

    async def close(self) -> None:
        """Send what is still to be said and close every socket; no new one is taken."""
        self._leaving = True
        await asyncio.gather(*(shell.shut() for shell in self._open), return_exceptions=True)


class _LinkSocket:
    """One socket; the `Wire` of its machine."""

    def __init__(self, socket: web.WebSocketResponse, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
        self._ready = asyncio.Event()
        self._closing = False
        self._done = asyncio.Event()

    # Wire

    def wake(self) -> None:
        """Have the writer look."""
        self._ready.set()

    def close(self, code: str, message: str) -> None:
        """Have the writer send what is left and close the socket."""
        self._closing = True
        self._ready.set()

    # Shell

    async def serve(self, session: LinkSession) -> None:
        """Run the link until it is over."""
        link = session.link
        link.opened(self._clock.monotonic())
        try:
            await self._run(session)
        finally:
            self._done.set()  # also when the peer went away: aiohttp cancels the handler then

    async def _run(self, session: LinkSession) -> None:
        link = session.link
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write(link), name="link-writer")
            ticker = tasks.create_task(self._tick(link), name="link-ticker")
            try:
                await self._read(link)
            finally:
                link.closed(self._clock.monotonic())
                session.closed()
                ticker.cancel()
                if not self._closing:  # else the writer is about to shake hands for the last time
                    writer.cancel()

    async def shut(self) -> None:
        """Let the writer send what is left, then close the socket and wait for the end."""
        self.close("shutting_down", "")
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._done.wait()

    async def _read(self, link: WorkerLink) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                link.receive(message.data, self._clock.monotonic())
            elif message.type is WSMsgType.TEXT:
                link.goodbye("protocol_error", "the link speaks binary frames")

    async def _write(self, link: WorkerLink) -> None:
        """Send frames while there are any; end the socket when the machine or the peer is done."""
        try:
            while True:
                await self._ready.wait()
                # What was woken together with us first: a call that is short ends in this turn, and
                # its result then leaves in one frame with the report of its slot.
                await asyncio.sleep(0)
                self._ready.clear()
                closing = self._closing
                while (frame := link.flush()) is not None:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._socket.send_bytes(frame)
                    if len(frame) > PART_BYTES:  # sending waits only for a socket that is full
                        await asyncio.sleep(0)
                if closing:
                    await self._socket.close(code=WSCloseCode.OK)
                    return
        except (ConnectionError, TimeoutError):
            await self._socket.close(code=WSCloseCode.GOING_AWAY, drain=False)

    async def _tick(self, link: WorkerLink) -> None:
        opened_s = self._clock.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._clock.monotonic()
            link.tick(now_s)
            if not link.up and now_s - opened_s > HELLO_TIMEOUT_S:
                link.goodbye("protocol_error", f"no Hello within {HELLO_TIMEOUT_S:g} s")
