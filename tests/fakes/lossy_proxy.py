"""A TCP proxy that loses answers: what was asked arrives and is done, and nobody hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext

PIECE = 64 * 1024


class LossyProxy:
    """Forwards connections to a port of this machine.

    Args:
        port: where to.
        marker: bytes of the requests whose answers may get lost.

    Attributes:
        port: where it listens; becomes known when it runs.
        losing: answers that are still to be lost; the connection breaks with each.
        lost: answers that were.
    """

    def __init__(self, port: int, marker: bytes) -> None:
        self.port = 0
        self.losing = 0
        self.lost = 0
        self._target = port
        self._marker = marker
        self._pipes: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        marked = asyncio.Event()
        ways = [
            asyncio.ensure_future(self._requests(reader, back, marked)),
            asyncio.ensure_future(self._answers(there, writer, marked)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.transport.abort()
            writer.transport.abort()
            self._pipes.discard(task)

    async def close(self) -> None:
        """End every connection."""
        pipes = list(self._pipes)
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(PIECE):
                if self._marker in data:
                    marked.set()
                writer.write(data)
                await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(PIECE):
                if self.losing and marked.is_set():
                    self.losing -= 1
                    self.lost += 1
                    return
                marked.clear()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def lossy_proxy(
    port: int, marker: bytes, tls: SSLContext | None = None
) -> AsyncGenerator[LossyProxy]:
    """Run a proxy before a port while the context lasts; with TLS in front of it, when there is a context."""
    proxy = LossyProxy(port, marker)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0, ssl=tls)
    proxy.port = int(server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
