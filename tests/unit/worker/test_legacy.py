"""`worker.legacy`: the slot socket on a view that is written by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.fakes.waiting import wait_until
from worker.legacy import LegacySocket

KEY = "lbk"

Connect = Callable[..., AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]]


class View:
    """A worker that says what a test wants."""

    def __init__(self) -> None:
        self.used = 0
        self.listeners: list[Callable[[], None]] = []

    def slots(self) -> dict[str, object]:
        """Return the slots."""
        return {"used": self.used}

    def full(self) -> dict[str, object]:
        """Return more."""
        return {"used": self.used, "full": True}

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Remember who listens."""
        self.listeners.append(changed)
        return lambda: self.listeners.remove(changed)

    def take(self, used: int) -> None:
        """Change the slots and say so."""
        self.used = used
        for listener in self.listeners:
            listener()


@asynccontextmanager
async def _serving(view: View, interval_s: float = 60.0) -> AsyncGenerator[Connect]:
    legacy = LegacySocket(KEY, view, interval_s=interval_s)
    app = web.Application()
    app.router.add_get("/", legacy.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with aiohttp.ClientSession() as session:
            yield lambda *protocols: session.ws_connect(url, protocols=protocols)
    finally:
        await legacy.close()
        await runner.cleanup()


async def _next(socket: aiohttp.ClientWebSocketResponse) -> dict[str, object]:
    value: dict[str, object] = json.loads(await socket.receive_str(timeout=5))
    return value


async def test_changes_that_come_together_are_told_once() -> None:
    """A report tells the state when it is sent, so that a busy worker floods nobody."""
    view = View()
    async with _serving(view) as connect, connect(KEY) as socket:
        await wait_until(lambda: view.listeners, "the socket listens")
        for used in range(1, 101):
            view.take(used)
        assert await _next(socket) == {"used": 100, "full": True}
        await socket.send_str("ping")
        assert await _next(socket) == {"used": 100}


async def test_reports_come_without_changes() -> None:
    """Every interval."""
    async with _serving(View(), interval_s=0.01) as connect, connect(KEY) as socket:
        for _ in range(3):
            assert await _next(socket) == {"used": 0, "full": True}


async def test_a_subscription_ends_with_its_socket() -> None:
    """Others go on listening."""
    view = View()
    async with _serving(view) as connect:
        async with connect(KEY):
            async with connect(KEY):
                await wait_until(lambda: len(view.listeners) == 2, "both listen")
            await wait_until(lambda: len(view.listeners) == 1, "one listens")
        await wait_until(lambda: not view.listeners, "nobody listens")


@pytest.mark.parametrize("protocols", [["x"], [], ["x", KEY], [KEY[:-1]]])
async def test_a_wrong_key_never_listens(protocols: list[str]) -> None:
    """It is closed before anything is told."""
    view = View()
    async with _serving(view) as connect, connect(*protocols) as socket:
        message = await socket.receive(timeout=5)
    assert message.data == 4001
    assert view.listeners == []
