"""The socket of a link, over real sockets: against the server of `websockets`, and against raw bytes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, InvalidUpgrade
from websockets.utils import accept_key

from balancer.fleet.link_socket import LinkSocket, open_socket
from shared.protocol.limits import MAX_FRAME
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from websockets.http11 import Request, Response

TIMEOUT_S = 5.0


class Heard:
    """A receiver that remembers."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.room = 0
        self.ends = 0

    def received(self, frame: bytes) -> None:
        """Keep it."""
        self.frames.append(frame)

    def writable(self) -> None:
        """Count it."""
        self.room += 1

    def lost(self) -> None:
        """Count it."""
        self.ends += 1


@asynccontextmanager
async def listening(
    handler: Callable[[ServerConnection], Awaitable[None]],
    check: Callable[[ServerConnection, Request], Response | None] | None = None,
) -> AsyncGenerator[str]:
    """Run a WebSocket server and give its address."""
    async with serve(handler, "127.0.0.1", 0, process_request=check, max_size=None) as server:
        port: int = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/link"


@asynccontextmanager
async def raw(answer: bytes) -> AsyncGenerator[str]:
    """Run a server that answers the first bytes with these and closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/link"


async def opened(url: str) -> tuple[LinkSocket, Heard]:
    """Open a socket."""
    heard = Heard()
    return await open_socket(url, "key", heard, TIMEOUT_S), heard


async def test_frames_travel_both_ways_and_the_key_is_in_the_handshake() -> None:
    """Of any size that a link makes, in order."""
    keys: list[str | None] = []

    async def echo(server: ServerConnection) -> None:
        assert server.request is not None
        keys.append(server.request.headers["Authorization"])
        async for message in server:
            await server.send(message)

    frames = [b"", b"a", b"b" * 126, b"c" * 70_000, b"d" * MAX_FRAME]
    async with listening(echo) as url:
        socket, heard = await opened(url)
        for frame in frames:
            socket.send(frame)
        await wait_until(lambda: len(heard.frames) == len(frames), "every frame came back")
        await socket.close()
    assert (heard.frames, keys, heard.ends) == (frames, ["key"], 1)


async def test_a_message_in_fragments_comes_whole() -> None:
    """A peer may cut its messages as it likes."""

    async def cut(server: ServerConnection) -> None:
        await server.send([b"one ", b"two ", b"three"])
        await server.send(b"four")
        await server.wait_closed()

    async with listening(cut) as url:
        socket, heard = await opened(url)
        await wait_until(lambda: len(heard.frames) == 2, "both messages came")
        await socket.close()
    assert heard.frames == [b"one two three", b"four"]


@pytest.mark.parametrize(
    ("message", "code"), [("text", 1003), (b"x" * (2 * MAX_FRAME + 1), 1009)], ids=["text", "size"]
)
async def test_what_no_link_sends_ends_the_socket(message: str | bytes, code: int) -> None:
    """Text, and messages past the limit; the peer is told why."""
    codes: list[int | None] = []

    async def odd(server: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await server.send(message)
        await server.wait_closed()
        codes.append(server.close_code)

    async with listening(odd) as url:
        _, heard = await opened(url)
        await wait_until(lambda: heard.ends == 1 and codes == [code], "the socket ended")
    assert heard.frames == []


async def test_a_refusal_is_told_with_its_status() -> None:
    """A worker that does not take the key answers 401."""

    async def never(_: ServerConnection) -> None:
        raise AssertionError("it was refused")

    def refuse(server: ServerConnection, _: Request) -> Response:
        return server.respond(401, "no")

    async with listening(never, refuse) as url:
        with pytest.raises(InvalidStatus) as caught:
            await opened(url)
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", (OSError, InvalidMessage)),
        (b"220 mail server\r\n\r\n", InvalidMessage),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", InvalidUpgrade),
    ],
    ids=["nothing", "no HTTP", "no key"],
)
async def test_who_speaks_no_websocket_is_an_error(
    answer: bytes, error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    """Whatever it answers, it ends soon, and by an exception."""
    async with raw(answer) as url:
        with pytest.raises(error):
            await opened(url)


async def test_a_handshake_takes_no_longer_than_it_may() -> None:
    """Somebody listens and never answers."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            await open_socket(f"ws://127.0.0.1:{port}/link", "key", Heard(), 0.05)


async def test_a_peer_that_does_not_read_makes_it_full_and_then_writable_again() -> None:
    """So that nobody fills the memory, and what waits goes on."""
    read = asyncio.Event()
    sizes: list[int] = []
    sent = 0

    async def slow(server: ServerConnection) -> None:
        await read.wait()
        sizes.extend([len(await server.recv()) for _ in range(sent)])
        await server.wait_closed()

    async with listening(slow) as url:
        socket, heard = await opened(url)
        while not socket.full and sent < 1000:
            socket.send(b"x" * 64 * 1024)
            sent += 1
            await asyncio.sleep(0)
        assert socket.full
        read.set()
        await wait_until(lambda: heard.room > 0 and len(sizes) == sent, "all of it was read")
        assert not socket.full
        await socket.close()


async def test_a_connection_that_breaks_is_told_once_and_then_takes_nothing() -> None:
    """Also when it is closed once more by its owner."""

    async def leave(server: ServerConnection) -> None:
        server.transport.abort()

    async with listening(leave) as url:
        socket, heard = await opened(url)
        await wait_until(lambda: heard.ends == 1, "the end was told")
        socket.send(b"nobody reads this")
        await socket.close()
    assert heard.ends == 1


async def test_a_peer_that_never_says_goodbye_is_cut() -> None:
    """Closing waits a moment for the other side, not for ever."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = head.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key).encode()
        )
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with server:
        socket, heard = await opened(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/link")
        async with asyncio.timeout(TIMEOUT_S):
            await socket.close()
        await wait_until(lambda: heard.ends == 1, "the end was told")


async def _talk(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> tuple[asyncio.Server, str]:
    """Run a server that shakes hands and then does as it likes."""

    async def shake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = head.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key).encode()
        )
        await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(shake, "127.0.0.1", 0)
    return server, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/link"


async def test_a_peer_that_closes_and_does_not_read_is_cut() -> None:
    """What is still unsent has a moment to leave, not for ever."""
    go, over = asyncio.Event(), asyncio.Event()

    async def close_and_sit(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(b"\x88\x02\x03\xe8")
        await over.wait()

    server, url = await _talk(close_and_sit)
    async with server:
        socket, heard = await opened(url)
        while not socket.full:
            socket.send(b"x" * 1024 * 1024)
        go.set()
        await wait_until(lambda: heard.ends == 1, "the end was told")
        over.set()


async def test_who_pings_and_does_not_read_fills_no_memory() -> None:
    """Pongs are left out while the socket is full."""
    over = asyncio.Event()

    async def ping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _n in range(200):
            writer.write(b"\x89\x7d" + b"p" * 125)
            await writer.drain()
        writer.write(b"\x82\x01!")
        await over.wait()

    server, url = await _talk(ping)
    async with server:
        socket, heard = await opened(url)
        while not socket.full:
            socket.send(b"x" * 1024 * 1024)
        unsent = socket.unsent
        await wait_until(lambda: heard.frames == [b"!"], "all pings were read")
        assert socket.unsent <= unsent
        over.set()
        socket.abort()
        await wait_until(lambda: heard.ends == 1, "the end was told")


async def test_a_closing_that_is_cancelled_still_closes() -> None:
    """Whoever gives up waiting leaves no connection behind."""
    over = asyncio.Event()

    async def sit(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await over.wait()

    server, url = await _talk(sit)
    async with server:
        socket, heard = await opened(url)
        closing = asyncio.ensure_future(socket.close())
        await asyncio.sleep(0)
        closing.cancel()
        await wait_until(lambda: heard.ends == 1, "the end was told")
        over.set()
