"""The same patience in both shells, by the clock of a loop whose time is virtual."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import async_solipsism  # pyright: ignore[reportMissingTypeStubs] it brings none
import pytest
from aiohttp import web

from shared.edge import limits
from shared.edge.fast_lane import FastLane
from shared.edge.http_shell import SERVER, EdgeRunner, edge_application, read_body, refuse
from shared.errors import Failure
from shared.ids import SequentialIds
from tests.fakes.raw_http import split_answers
from tests.unit.shared.edge.fast_lane.bed import BODY_LIMIT, request
from tests.unit.shared.edge.fast_lane.scripted_desk import ScriptedDesk

SHELLS = ["lane", "aiohttp"]
SLACK_S = 15.0  # a few sweeps until the lane lets go; what aiohttp lingers behind an unread body


class LoopClock:
    """The time of the running loop."""

    def monotonic(self) -> float:
        """Return its seconds."""
        return asyncio.get_running_loop().time()

    def utc_now(self) -> datetime:
        """Return a date that moves with them."""
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())


async def _task(asked: web.Request) -> web.StreamResponse:
    body = await read_body(asked, BODY_LIMIT)
    return refuse(asked, body) if isinstance(body, Failure) else web.Response(body=body)


@asynccontextmanager
async def _served(shell: str) -> AsyncGenerator[int]:
    """Serve by one shell; the value is the port."""
    app = edge_application(SequentialIds("other"))
    app.router.add_post("/task", _task)
    runner = EdgeRunner(app, SequentialIds("bad"), shutdown_timeout_s=0.0)
    await runner.setup()
    assert runner.server is not None
    listener = cast("socket.socket", async_solipsism.ListenSocket(("127.0.0.1", 80)))
    desk, ids = ScriptedDesk(), SequentialIds("made")
    lane = FastLane(desk, runner.server, ids, LoopClock(), body_limit=BODY_LIMIT, software=SERVER)
    if shell == "lane":
        await lane.listen(listener)
    else:
        await asyncio.get_running_loop().create_server(runner.server, sock=listener)
    try:
        yield 80
    finally:
        await lane.close(0.0)
        await runner.cleanup()


def _in_virtual_time(test: Callable[[], Coroutine[object, object, None]]) -> None:
    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        runner.run(test())


async def _end_of(
    sent: bytes, *, before: bytes = b"", idle_s: float = 0.0, port: int
) -> tuple[float, bytes]:
    """Return after how long a connection was closed behind these bytes, and what was said.

    Args:
        sent: the last bytes that are sent.
        before: what is sent, and answered, first.
        idle_s: a pause between both.
        port: of the server.
    """
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if before:
        writer.write(before)
        await asyncio.sleep(1.0)
    await asyncio.sleep(idle_s)
    begun_s = loop.time()
    writer.write(sent)
    said = await reader.read()
    ended_s = loop.time() - begun_s
    writer.close()
    return ended_s, said


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("before", [b"", request("now")], ids=["unused", "used"])
def test_an_idle_connection_is_closed(shell: str, before: bytes) -> None:
    """After KEEP_ALIVE_S, without a word."""

    async def run() -> None:
        async with _served(shell) as port:
            ended_s, said = await _end_of(b"", before=before, port=port)
            assert limits.KEEP_ALIVE_S - 2 <= ended_s <= limits.KEEP_ALIVE_S + SLACK_S
            assert len(split_answers(said)) == bool(before)

    _in_virtual_time(run)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_head_that_is_never_complete_is_not_waited_for(shell: str) -> None:
    """It is idle all the same: nothing was asked, so nothing is answered."""

    async def run() -> None:
        async with _served(shell) as port:
            ended_s, said = await _end_of(request("now")[:60], port=port)
            assert limits.KEEP_ALIVE_S - 2 <= ended_s <= limits.KEEP_ALIVE_S + SLACK_S
            assert said == b""

    _in_virtual_time(run)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("before", [b"", request("now")], ids=["unused", "used"])
def test_a_body_that_is_never_complete_is_told(shell: str, before: bytes) -> None:
    """408 after BODY_TIMEOUT_S, and the connection is closed."""

    async def run() -> None:
        async with _served(shell) as port:
            ended_s, said = await _end_of(
                request("now")[:-1], before=before, idle_s=20.0, port=port
            )
            assert limits.BODY_TIMEOUT_S <= ended_s <= limits.BODY_TIMEOUT_S + SLACK_S
            late = split_answers(said)[-1]
            assert (late.status, late.json["code"]) == (408, "request_timeout")

    _in_virtual_time(run)
