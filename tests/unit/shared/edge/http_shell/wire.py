"""HTTP over a bare socket, so that tests see the bytes and how a connection ends."""

from __future__ import annotations

import asyncio


class Answered:
    """One answer as it came.

    Attributes:
        raw: every byte until the server closed the connection.
        complete: the body came to its proper end.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        head, _, rest = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        self.body, self.complete = self._body(rest)

    def _body(self, rest: bytes) -> tuple[bytes, bool]:
        if self.headers.get("transfer-encoding") != "chunked":
            length = self.headers.get("content-length")
            return rest, length is None or len(rest) == int(length)
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            count = int(size, 16)
            if count == 0:
                return body, True
            body += rest[:count]
            rest = rest[count + 2 :]
        return body, False


async def exchange(port: int, sent: bytes) -> Answered:
    """Send bytes on a new connection and read until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        await writer.drain()
        received = b""
        try:
            while part := await reader.read(65536):
                received += part
        except ConnectionResetError:
            pass
        return Answered(received)
    finally:
        writer.close()
