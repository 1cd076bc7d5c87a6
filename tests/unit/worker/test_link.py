"""The link's shell: a real socket between a real balancer machine and a real engine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from shared.protocol.balancer_link import BalancerLink
from shared.protocol.web_socket import UNSUPPORTED
from shared.system import SystemClock
from tests.fakes.waiting import wait_until
from tests.unit.worker.link_bed import LinkBed, Recorder, WireStub, World, hello, link_bed, waits
from worker.link import LinkServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

KEY = "lb-key"


class Served:
    """A worker that listens."""

    def __init__(self, bed: LinkBed, server: LinkServer, port: int) -> None:
        self.bed = bed
        self.server = server
        self.url = f"ws://127.0.0.1:{port}/link"

    @asynccontextmanager
    async def socket(self, key: str = KEY) -> AsyncGenerator[ClientConnection]:
        """Open a socket."""
        headers = {"Authorization": key}
        async with connect(
            self.url, additional_headers=headers, proxy=None, compression=None, max_size=None
        ) as socket:
            yield socket


@asynccontextmanager
async def serving() -> AsyncGenerator[Served]:
    """Serve links on a port of this machine."""
    async with link_bed() as bed:
        server = LinkServer(bed.peers, SystemClock(), KEY)
        app = web.Application()
        app.router.add_get("/link", server.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = int(runner.addresses[0][1])
        try:
            yield Served(bed, server, port)
        finally:
            await server.close()
            await runner.cleanup()


class Client:
    """A balancer's machine on a real socket."""

    def __init__(self, socket: ClientConnection, balancer_id: str = "b1") -> None:
        self.socket = socket
        self.recorder = Recorder()
        self.machine = BalancerLink(
            self.recorder, WireStub(), balancer_id=balancer_id, boot_id="boot"
        )
        self.machine.opened(0)

    async def say(self) -> None:
        """Send what the machine has."""
        while (frame := self.machine.flush()) is not None:
            await self.socket.send(frame)

    async def hear(self) -> None:
        """Take one frame."""
        frame = await self.socket.recv()
        assert isinstance(frame, bytes)
        self.machine.receive(frame, 0)

    async def hear_until(self, seen: object) -> None:
        """Take frames until a list of the recorder has something."""
        async with asyncio.timeout(10):
            while not seen:
                await self.hear()

    def dispatch(self, token: str, function: str, input: bytes = b"{}") -> None:
        """Queue a dispatch."""
        self.machine.dispatch(
            token=token, task_id=token, function=function, mode="sync", input=input
        )


@pytest.mark.parametrize("key", ["wrong", "", "Bearer wrong"])
async def test_a_stranger_gets_401(key: str) -> None:
    """No socket without LB_AUTH_KEY."""
    async with serving() as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.socket(key):
                pass
        assert refused.value.response.status_code == 401
        assert b'"code": "unauthorized"' in refused.value.response.body


@pytest.mark.parametrize("key", [KEY, f"Bearer {KEY}"])
async def test_a_dispatch_runs_over_a_real_socket(key: str) -> None:
    """Hello, Welcome, Dispatch, Finished, Report; many at once too, and a large input."""
    async with serving() as served, served.socket(key) as socket:
        client = Client(socket)
        await client.say()
        await client.hear_until(client.recorder.welcomes)
        large = b'{"name":"' + b"x" * 300_000 + b'"}'
        client.dispatch("t1", hello.name)
        client.dispatch("t2", hello.name, large)
        await client.say()
        async with asyncio.timeout(10):
            while len(client.recorder.ended) < 2:
                await client.hear()
                await client.say()
        results = {finished.token: result for finished, result in client.recorder.ended}
        assert results["t1"] == b'"hello World"'
        assert len(results["t2"] or b"") == 300_000 + len('"hello "')


async def test_a_socket_that_breaks_frees_what_was_reserved_and_keeps_what_runs() -> None:
    """The attempt goes on without its link, and the worker knows that the balancer is away."""
    async with serving() as served:
        async with served.socket() as socket:
            client = Client(socket)
            await client.say()
            await client.hear_until(client.recorder.welcomes)
            client.dispatch("t1", waits.name)
            await client.say()
            engine = served.bed.bench.engine
            await wait_until(lambda: engine.slots().used == 1, "it runs")
            socket.transport.abort()
        await wait_until(lambda: not served.bed.peers.sessions(), "the link is gone")
        assert engine.slots().used == 1
        World.door.set()
        await wait_until(lambda: engine.slots().used == 0, "it has ended")
        assert len(served.bed.peers.outbox) == 1


async def test_a_broken_rule_closes_the_socket_and_says_why() -> None:
    """Bytes that are no frame end the link with a Goodbye; the worker goes on."""
    async with serving() as served:
        async with served.socket() as socket:
            client = Client(socket)
            await client.say()
            await client.hear_until(client.recorder.welcomes)
            await socket.send(b"\xc1 no msgpack")
            await client.hear_until(client.recorder.ends)
            with pytest.raises(ConnectionClosed):
                await client.hear()
        assert client.recorder.ends[0][0] == "protocol_error"
        await wait_until(lambda: not served.bed.peers.sessions(), "the link is gone")


async def test_text_is_not_the_link() -> None:
    """The legacy socket's `ping` on the wrong path closes it as unsupported data."""
    async with serving() as served, served.socket() as socket:
        await socket.send("ping")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == UNSUPPORTED


async def test_closing_the_server_says_goodbye() -> None:
    """What is still to be said is sent before the socket closes."""
    async with serving() as served, served.socket() as socket:
        client = Client(socket)
        await client.say()
        await client.hear_until(client.recorder.welcomes)
        served.bed.peers.close()
        closing = asyncio.create_task(served.server.close())
        await client.hear_until(client.recorder.ends)
        assert client.recorder.ends == [("shutting_down", "the worker stops")]
        with pytest.raises(ConnectionClosed) as closed:
            await client.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
        await closing
