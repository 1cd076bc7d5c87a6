"""A receiver of webhooks that costs as little as it can and remembers what came, and when the last did.

`POST /…` counts results by what they say, so that one that comes twice counts once. `GET /` tells how
many came and when the newest new one did (CLOCK_MONOTONIC); `DELETE /` forgets them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Seen:
    """What has come."""

    def __init__(self) -> None:
        self.bodies: set[bytes] = set()
        self.last_s = 0.0

    def take(self, body: bytes) -> None:
        """Count a result."""
        if body not in self.bodies:
            self.bodies.add(body)
            self.last_s = time.monotonic()

    def answer(self, method: bytes) -> bytes:
        """Return what `GET` and `DELETE` are told."""
        text = json.dumps({"count": len(self.bodies), "last_s": self.last_s}).encode()
        if method == b"DELETE":
            self.bodies.clear()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


class Receiver(asyncio.Protocol):
    """One connection."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        data = self._buffer + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(data, 0, end + 2)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(data) < whole:
                break
            method = data[: data.index(b" ")]
            if method == b"POST":
                self._seen.take(data[end + 4 : whole])
                self._transport.write(_TAKEN)
            else:
                self._transport.write(self._seen.answer(method))
            data = data[whole:]
        self._buffer = data


async def serve() -> None:
    """Serve until the process is ended."""
    seen = Seen()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(seen), "127.0.0.1", 0, backlog=1024)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as run:
        run.run(serve())
