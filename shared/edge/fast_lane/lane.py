"""The lane of one listening socket: makes connections, and closes the idle and the slow ones."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.edge.fast_lane.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.clock import Clock
    from shared.edge.answers import Answer
    from shared.edge.fast_lane.desk import Desk
    from shared.ids import IdSource

SWEEP_S = 1.0  # how often idle and slow connections are looked for


class FastLane:
    """The lane of one listening socket: makes its connections and watches over them.

    Args:
        desk: takes the tasks.
        successor: makes the aiohttp protocol that a connection is handed over to.
        ids: makes correlation ids.
        clock: for the Date header and the time-outs.
        body_limit: REQUEST_BODY_LIMIT; larger bodies are the other shell's to refuse.
        software: the Server header.
    """

    def __init__(
        self, desk: Desk, successor: Callable[[], asyncio.Protocol], ids: IdSource, clock: Clock,
        *, body_limit: int, software: str,
    ) -> None:  # fmt: skip
        self.desk = desk
        self.successor = successor
        self.ids = ids
        self.clock = clock
        self.body_limit = body_limit
        self.connections: set[Connection] = set()
        self.closing = False
        self.now_s = clock.monotonic()
        self._software = software
        self._heads: dict[tuple[int, str], bytes] = {}
        self._date = b""
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)

    def start(self) -> None:
        """Begin to watch; before the first connection."""
        self._sweep()

    def close(self) -> None:
        """Close idle connections; those that wait for an answer close after it."""
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self.connections):
            connection.wind_up()

    def abort(self) -> None:
        """Cut every connection that is left."""
        for connection in list(self.connections):
            connection.abort()

    def head(self, answer: Answer) -> bytes:
        """Return status line and constant headers of an answer, up to the value of Content-Length."""
        key = (answer.status, answer.content_type)
        known = self._heads.get(key)
        if known is None:
            reason = HTTPStatus(answer.status).phrase
            known = (
                (
                    f"HTTP/1.1 {answer.status} {reason}\r\nServer: {self._software}\r\n"
                    f"Content-Type: {answer.content_type}\r\nDate: "
                ).encode()
                + self._date
                + b"\r\nContent-Length: "
            )
            self._heads[key] = known
        return known

    def _sweep(self) -> None:
        """Close who is silent for too long; set the clock that costs no call per request."""
        self.now_s = self.clock.monotonic()
        self._date = formatdate(self.clock.utc_now().timestamp(), usegmt=True).encode()
        self._heads.clear()
        for connection in list(self.connections):
            connection.look(self.now_s)
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
