"""One kept connection to a receiver of webhooks: a request at a time, and of its answer what counts.

What counts is the status and `Retry-After`. The rest is read only so that the connection can be used
again; a long answer closes it.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

MAX_ANSWER_BYTES = 64 * 1024  # of one answer with its head
SWITCHING = 101  # the only answer of the 1xx that is the last one


class HookConnection(asyncio.Protocol):
    """A connection; made by `loop.create_connection`.

    Attributes:
        status: of the last answer; None while there is none.
        retry_after: its header, if it has one.
        heard: bytes of the last answer that have come.
        reusable: it can carry another request.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.heard = 0
        self.reusable = True
        self._answered: asyncio.Future[None] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None

    async def post(self, head: bytes, body: bytes, deadline_s: float) -> None:
        """Send a request and wait for the end of its answer, or for the deadline (the loop's time).

        Afterwards `status` tells what came: a status is an answer, whatever became of the rest.
        """
        assert self._transport is not None
        assert self._answered is None, "one request at a time"
        loop = asyncio.get_running_loop()
        self.status, self.retry_after, self.heard = None, None, 0
        self._answered = loop.create_future()
        timer = loop.call_at(deadline_s, self.close)
        try:
            self._transport.writelines((head, body))
            await self._answered
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
            self._answered = None

    def close(self) -> None:
        """Close at once; a request that waits for its answer waits no more."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()
        self._end()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read an answer."""
        if self._answered is None:
            self.close()  # nobody asked
            return
        self.heard += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
        if self.heard > MAX_ANSWER_BYTES:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; an answer may end with its connection."""
        self.reusable = False
        self._end()

    # ---- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if name.lower() == b"retry-after":
            self.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the status, unless another answer follows."""
        status = self._parser.get_status_code()
        if status >= 200 or status == SWITCHING:
            self.status = status

    def on_message_complete(self) -> None:
        """End the answer."""
        if self.status is None:
            self.retry_after = None  # an interim answer's
            return
        if not self._parser.should_keep_alive() or self.status == SWITCHING:
            self.close()
        self._end()

    def _end(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
