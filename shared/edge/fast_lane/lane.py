"""The lane of one listening socket: makes connections, closes the idle ones, lets go of the slow ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.edge.fast_lane.connection import Connection
from shared.edge.fast_lane.head import Heads
from shared.edge.fast_lane.responses import Responses

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from shared.clock import Clock
    from shared.edge.fast_lane.desk import Desk
    from shared.ids import IdSource

SWEEP_S = 1.0  # how often idle and slow connections are looked for
BACKLOG = 1024  # connections that wait to be accepted
# Answers that are written one right after the other. A client on this machine then wakes once for
# many of them; what an answer waits is the rest of a loop turn, or the making of so many others.
TOGETHER = 16
GRACE_S = 1.0  # what calls under way have left to be answered in, once the lane is closed


class FastLane:
    """The lane of one listening socket: makes its connections and watches over them.

    Args:
        desk: takes the tasks.
        successor: makes the aiohttp protocol that a connection is handed over to.
        ids: makes correlation ids.
        clock: for the Date header and the time-outs.
        body_limit: REQUEST_BODY_LIMIT; larger bodies are the other shell's to refuse.
        software: the Server header.

    Attributes:
        connections: those that are in the lane.
        handed_over: how many have left it for the other shell.
        closing: every answer is the last one of its connection.
        now_s: the time at the last sweep: a clock that costs no call.
        heads, responses: read heads, word answers.
    """

    def __init__(
        self, desk: Desk, successor: Callable[[], asyncio.Protocol], ids: IdSource, clock: Clock,
        *, body_limit: int, software: str,
    ) -> None:  # fmt: skip
        self.desk = desk
        self.successor = successor
        self.ids = ids
        self.connections: set[Connection] = set()
        self.handed_over = 0
        self.closing = False
        self.now_s = clock.monotonic()
        self.heads = Heads(desk.authorize, body_limit)
        self.responses = Responses(software, clock.utc_now())
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()
        self._unwritten: list[tuple[asyncio.Transport, bytes]] = []

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)

    async def listen(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket until `close`."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SWEEP_S, self._sweep_and_again)
        self._server = await loop.create_server(self, sock=listener, backlog=BACKLOG)

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Accept no more, close idle connections, the others after their answers; cut what is left."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.wind_up()
        try:
            async with asyncio.timeout(grace_s):
                await self._empty()
        except TimeoutError:
            for connection in list(self.connections):
                connection.abort()
            await self._empty()
        if self._timer is not None:
            self._timer.cancel()

    def write(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Write an answer in this turn of the loop, together with others."""
        unwritten = self._unwritten
        unwritten.append((transport, answer))
        if len(unwritten) >= TOGETHER:
            self.flush()
        elif len(unwritten) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write the answers that wait."""
        unwritten, self._unwritten = self._unwritten, []
        for transport, answer in unwritten:
            if not transport.is_closing():
                transport.write(answer)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is lost or handed over."""
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    def sweep(self) -> None:
        """Set the clock, and look at every connection."""
        self.now_s = self._clock.monotonic()
        self.responses.date(self._clock.utc_now())
        self.heads.forget()
        for connection in list(self.connections):
            connection.look(self.now_s)

    def _sweep_and_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep_and_again)
        self.sweep()

    async def _empty(self) -> None:
        self._emptied.clear()
        if self.connections:
            await self._emptied.wait()
