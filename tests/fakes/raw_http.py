"""Answers read from bytes, one after the other, as a client that trusts nothing would."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterable
from typing import cast

import msgspec

SILENCE_S = 0.1  # after which nothing more is expected


class RawAnswer:
    """One answer.

    Attributes:
        status: its status.
        headers: by lower-case name.
        body: its body.
    """

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(":") for line in lines if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.body = body

    @property
    def json(self) -> dict[str, object]:
        """Return the body as a JSON object."""
        return cast("dict[str, object]", json.loads(self.body))

    @property
    def content(self) -> dict[str, object]:
        """Return the body as an object, in whichever of the two forms it came."""
        if self.headers["content-type"] == "application/msgpack":
            return cast("dict[str, object]", msgspec.msgpack.decode(self.body))
        return self.json

    def __repr__(self) -> str:
        return f"RawAnswer({self.status}, {self.headers}, {self.body[:200]!r})"


class Peer:
    """The caller's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        """Send parts, each on its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self) -> RawAnswer:
        """Read one answer."""
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = RawAnswer(head, b"").headers.get("content-length", "0")
            return RawAnswer(head, await self.reader.readexactly(int(length)))

    async def ask(self, sent: bytes) -> RawAnswer:
        """Send a request and read its answer."""
        await self.send(sent)
        return await self.answer()

    async def rest(self) -> bytes:
        """Read until the server closes; b"" when it closes without another byte."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def reset(self) -> None:
        """Break the connection: the server gets a reset, not an end."""
        raw = cast("socket.socket", self.writer.get_extra_info("socket"))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def exchange_raw(port: int, segments: Iterable[bytes]) -> bytes:
    """Send segments on a new connection; return what was said until the server closed or fell silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    try:
        for segment in segments:
            writer.write(segment)
            await writer.drain()
            await asyncio.sleep(0)
        while part := await asyncio.wait_for(reader.read(65536), SILENCE_S):
            said += part
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return said


def split_answers(raw: bytes) -> list[RawAnswer]:
    """Return the answers in a stream of bytes; what is cut off at its end counts with what there is."""
    answers: list[RawAnswer] = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        answer = RawAnswer(head, b"")
        if answer.headers.get("transfer-encoding") == "chunked":
            answer.body, raw = _unchunked(raw)
        elif answer.status >= 200 and not raw.startswith(
            b"HTTP/1."
        ):  # HEAD has a length without a body
            length = int(answer.headers.get("content-length", len(raw)))
            answer.body, raw = raw[:length], raw[length:]
        answers.append(answer)
    return answers


def _unchunked(raw: bytes) -> tuple[bytes, bytes]:
    body = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        count = int(size, 16)
        body += raw[:count]
        raw = raw[count + 2 :]
        if count == 0:
            break
    return body, raw
