"""The capture of an Andera balancer and its worker (tests/contract/andera), taken apart for being played again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import NamedTuple, cast

from tests.contract.worker.observed import Frame, captured_frames, exchanges

JsonObject = dict[str, object]

LB_KEY = "lbk"  # as captured
AUTH_KEY = "wk"
TEXT, CLOSE = 1, 8  # opcodes of RFC 6455 §5.2
READ_S = 10.0  # a busy machine


class Message(NamedTuple):
    """A WebSocket message, unmasked."""

    opcode: int
    payload: bytes

    @property
    def json(self) -> JsonObject:
        """Return the object that a text message holds."""
        return cast("JsonObject", json.loads(self.payload))


class Http(NamedTuple):
    """A request or an answer."""

    first: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> JsonObject:
        """Return the object of the body."""
        return cast("JsonObject", json.loads(self.body))

    @property
    def status(self) -> int:
        """Return the status of an answer."""
        return int(self.first.split()[1])


class State(NamedTuple):
    """What a captured worker says of itself at one time."""

    status: str
    used: int

    @classmethod
    def of(cls, told: JsonObject) -> State:
        """Read it from a /health answer or a message of the slot socket."""
        return cls(str(told["status"]), cast("dict[str, int]", told["slots"])["used"])


async def read_http(reader: asyncio.StreamReader) -> Http:
    """Read one request or answer, whose body has a length or comes in chunks."""
    async with asyncio.timeout(READ_S):
        head = await reader.readuntil(b"\r\n\r\n")
        first, headers = _head(head)
        if headers.get("transfer-encoding") == "chunked":
            return Http(first, headers, await _read_chunks(reader))
        return Http(
            first, headers, await reader.readexactly(int(headers.get("content-length", "0")))
        )


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return body


def _head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return first, {name.lower(): value for name, value in pairs}


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Read one WebSocket message; nobody here cuts one into several frames."""
    async with asyncio.timeout(READ_S):
        first, second = await reader.readexactly(2)
        assert first & 0xF0 == 0x80, "a cut or compressed message"
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        mask = await reader.readexactly(4) if second & 0x80 else bytes(4)
        payload = await reader.readexactly(size)
    return Message(first & 0x0F, bytes(b ^ mask[n % 4] for n, b in enumerate(payload)))


def _read_now(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


async def parsed_http(data: bytes) -> Http:
    """Return captured bytes as a request or an answer."""
    return await read_http(_read_now(data))


async def parsed_messages(data: bytes) -> list[Message]:
    """Return the messages of captured bytes, of which one read may have brought several."""
    reader = _read_now(data)
    found: list[Message] = []
    while not reader.at_eof():
        found.append(await read_message(reader))
    return found


def socket_frames() -> tuple[Frame, Frame, Iterator[Frame]]:
    """Return the captured upgrade, its answer, and what was said then on the slot socket."""
    frames = (frame for frame in captured_frames() if frame.port == "ws")
    return next(frames), next(frames), frames


def answers_to(mark: bytes) -> list[bytes]:
    """Return the captured answers to requests that have a mark, in order."""
    return [answer for request, answer in exchanges() if mark in request]
