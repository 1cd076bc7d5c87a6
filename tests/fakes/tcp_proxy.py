"""A TCP proxy whose faults are verbs: cut, freeze, heal. It stands for the network before a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

PIECE = 64 * 1024


class TcpProxy:
    """Forwards connections to one address.

    Attributes:
        url: where it listens; becomes known when it runs.
        opened: connections that were taken so far.
    """

    def __init__(self, target: str) -> None:
        self.url = ""
        self.opened = 0
        self._target = target
        self._down = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def aim(self, target: str) -> None:
        """Forward new connections to another address: the worker was started anew."""
        self._target = target

    def cut(self) -> None:
        """Break every connection, and every new one at once."""
        self._down = True
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Take connections and bytes and pass nothing on: a black hole."""
        self._flowing.clear()

    def heal(self) -> None:
        """Work again; what was frozen goes on."""
        self._down = False
        self._flowing.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.opened += 1
        if self._down:
            writer.transport.abort()
            return
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            await self._flowing.wait()
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pipes.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def close(self) -> None:
        """End every connection."""
        pipes = list(self._pipes)
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._target)
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        self._writers.add(back)
        ways = [
            asyncio.ensure_future(self._pipe(reader, back)),
            asyncio.ensure_future(self._pipe(there, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers.discard(back)
            back.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(PIECE):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def tcp_proxy(target: str) -> AsyncGenerator[TcpProxy]:
    """Run a proxy before an address while the context lasts."""
    proxy = TcpProxy(target)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
