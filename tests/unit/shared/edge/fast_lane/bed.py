"""A lane before an aiohttp application, on a real port, and raw connections to it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from shared.edge.fast_lane import FastLane
from shared.edge.http_shell import SERVER, EdgeRunner, edge_application, read_body
from shared.errors import Failure
from shared.ids import SequentialIds
from shared.system import SystemClock
from tests.fakes.manual_clock import ManualClock
from tests.fakes.raw_http import Peer
from tests.unit.shared.edge.fast_lane.scripted_desk import KEY, ScriptedDesk

BODY_LIMIT = 100_000


def request(
    do: str = "now",
    say: str = "",
    *headers: str,
    key: str = KEY,
    body: bytes | None = None,
    line: str = "POST /task HTTP/1.1",
) -> bytes:
    """Return the bytes of a call.

    Args:
        do, say: for the scripted desk.
        headers: further lines.
        key: in Authorization.
        body: instead of what `do` and `say` make.
        line: the request line.
    """
    body = json.dumps({"do": do, "say": say}).encode() if body is None else body
    lines = [line, "Host: x", f"Authorization: {key}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def aiohttp_shell(other: list[bytes]) -> EdgeRunner:
    """Return the other shell: it echoes `POST /task`, whose bodies go into a list."""

    async def echo(asked: web.Request) -> web.StreamResponse:
        body = await read_body(asked, BODY_LIMIT)
        assert not isinstance(body, Failure)
        other.append(body)
        return web.Response(body=body, headers={"x-shell": "aiohttp"})

    async def health(asked: web.Request) -> web.StreamResponse:
        return web.Response(text="ready", headers={"x-shell": "aiohttp"})

    app = edge_application(SequentialIds("other"))
    app.router.add_post("/task", echo)
    app.router.add_get("/health", health)
    runner = EdgeRunner(app, SequentialIds("malformed"), shutdown_timeout_s=0.1)
    await runner.setup()
    return runner


class Bed:
    """A running lane.

    Attributes:
        lane, desk: what is tested, and what stands behind it.
        clock: of the lane; the test moves it.
        other: bodies that the other shell was given.
        port: where it listens.
    """

    def __init__(self, lane: FastLane, desk: ScriptedDesk, clock: ManualClock) -> None:
        self.lane = lane
        self.desk = desk
        self.clock = clock
        self.other: list[bytes] = []
        self.port = 0

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with the sweeps that fall into it."""
        while seconds > 0:
            self.clock.advance(min(1.0, seconds))
            self.lane.sweep()
            seconds -= 1.0

    @asynccontextmanager
    async def peer(self) -> AsyncGenerator[Peer]:
        """Open a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def running_lane(*, real_time: bool = False) -> AsyncGenerator[Bed]:
    """Run a lane while the context lasts.

    Args:
        real_time: by the machine's clock, not by the test's.
    """
    desk, clock, other = ScriptedDesk(), ManualClock(), list[bytes]()
    runner = await aiohttp_shell(other)
    assert runner.server is not None
    lane = FastLane(
        desk, runner.server, SequentialIds("made"), SystemClock() if real_time else clock,
        body_limit=BODY_LIMIT, software=SERVER,
    )  # fmt: skip
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    bed = Bed(lane, desk, clock)
    bed.other = other
    bed.port = int(listener.getsockname()[1])
    await lane.listen(listener)
    try:
        yield bed
    finally:
        await lane.close(0.0)
        await runner.cleanup()
        listener.close()
