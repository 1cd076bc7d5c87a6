"""The shell of a link: a WebSocket on `/link` around the machine that speaks the protocol.

All that gets ready in one turn of the loop leaves in one frame. A socket that is full is not written
to; what is cut late is newer and is shared more fairly.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from shared.edge.codec import is_key
from shared.protocol.limits import PART_BYTES
from shared.protocol.worker_link import WorkerLink
from worker.link_socket import accept_socket
from worker.session import LinkSession

if TYPE_CHECKING:
    from shared.clock import Clock
    from shared.edge.link_socket import LinkSocket
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
        self._open: set[LinkShell] = set()
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
        shell = LinkShell(self._clock)
        socket = accept_socket(request, shell)
        session = LinkSession(self._peers)
        session.link = WorkerLink(
            session,
            shell,
            heartbeat_interval_s=self._heartbeat_interval_s,
            heartbeat_timeout_s=self._heartbeat_timeout_s,
        )
        self._open.add(shell)
        try:
            await shell.serve(session, socket)
        finally:
            self._open.discard(shell)
        return web.Response()  # goes nowhere: the connection is closed

    async def close(self) -> None:
        """Send what is still to be said and close every socket; no new one is taken."""
        self._leaving = True
        await asyncio.gather(*(shell.shut() for shell in self._open), return_exceptions=True)


class LinkShell:
    """One socket; the `Wire` of its machine, and the receiver of its socket.

    Args:
        clock: tells the machine the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._link: WorkerLink | None = None
        self._socket: LinkSocket | None = None
        self._due = False  # a flush is
        self._full_s: float | None = None  # since when the socket takes nothing
        self._closing = False
        self._over = asyncio.Event()
        self._done = asyncio.Event()
        self._fault: Exception | None = None  # a bug of ours

    # Wire

    def wake(self) -> None:
        """Flush after what was woken together with us.

        A call that is short ends in the next turn of the loop, and its result then leaves in one
        frame with the report of its slot.
        """
        if not self._due:
            self._due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._flush)

    def close(self, code: str, message: str) -> None:
        """Send what is left, then close the socket."""
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._over.set)
        self.wake()

    # The socket's receiver

    def received(self, frame: bytes) -> None:
        """Take a frame."""
        link = self._link
        if link is None or self._over.is_set():
            return
        try:
            link.receive(frame, self._clock.monotonic())
        except Exception as exc:  # it reads whatever comes: this is a bug of ours
            self._fail(exc)

    def writable(self) -> None:
        """Go on sending."""
        self._full_s = None
        self._flush()

    def lost(self) -> None:
        """End."""
        self._over.set()

    # Shell

    async def serve(self, session: LinkSession, socket: LinkSocket) -> None:
        """Run the link until it is over.

        Raises:
            Exception: a bug of ours ended it.
        """
        link = self._link = session.link
        self._socket = socket
        link.opened(self._clock.monotonic())
        loops = [asyncio.ensure_future(part) for part in (self._over.wait(), self._tick(link))]
        try:
            await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        finally:
            link.closed(self._clock.monotonic())
            session.closed()
            for loop in loops:
                loop.cancel()
            ends = await asyncio.gather(*loops, return_exceptions=True)
            await socket.close()
            self._done.set()
        for end in (*ends, self._fault):
            if isinstance(end, Exception):
                raise end

    async def shut(self) -> None:
        """Send what is left, then close the socket and wait for the end."""
        self.close("shutting_down", "")
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._done.wait()

    def _flush(self) -> None:
        """Send what is ready and what the socket takes; end when that was the last."""
        self._due = False
        socket, link = self._socket, self._link
        if socket is None or link is None or self._over.is_set():
            return
        try:
            while not socket.full:  # else `writable` goes on
                frame = link.flush()
                if frame is None:
                    if self._closing:
                        self._over.set()
                    return
                socket.send(frame)
                if len(frame) > PART_BYTES:  # a large body leaves room for others in between
                    self.wake()
                    return
        except Exception as exc:  # a bug of ours
            self._fail(exc)

    def _fail(self, fault: Exception) -> None:
        """End the link because of a bug; `serve` raises it."""
        self._fault = self._fault or fault
        self._over.set()

    async def _tick(self, link: WorkerLink) -> None:
        opened_s = self._clock.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._clock.monotonic()
            link.tick(now_s)
            if not link.up and now_s - opened_s > HELLO_TIMEOUT_S:
                link.goodbye("protocol_error", f"no Hello within {HELLO_TIMEOUT_S:g} s")
            if self._socket is not None and self._socket.full:
                self._full_s = now_s if self._full_s is None else self._full_s
                if now_s - self._full_s > SEND_TIMEOUT_S:
                    self._over.set()
