"""One kept connection to a receiver of webhooks: a request at a time, and of its answer what counts.

What counts is the status and `Retry-After`. The rest is read only so that the connection can be used
again; a long answer closes it. So does whatever comes behind an answer: it must be taken neither for
that answer nor for the one to the next request, which may be another caller's.
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
        self._whole = False  # the answer has come to its end
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None

    async def post(self, head: bytes, body: bytes, deadline_s: float) -> None:
        """Send a request and wait for the end of its answer, or for the deadline (the loop's time).

        Afterwards `status` tells what came: a status is an answer, whatever became of the rest.
        """
        assert self._transport is not None
        assert self._answered is None, "one request at a time"
        loop = asyncio.get_running_loop()
        self.status, self.retry_after, self.heard, self._whole = None, None, 0, False
        if not self.reusable or self._transport.is_closing():
            self.close()
            return
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
        if self._answered is None or self._answered.done():
            self.close()  # nobody asked
            return
        self.heard += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
        if self.heard > MAX_ANSWER_BYTES:
            self.close()

    def eof_received(self) -> None:
        """Note that no other answer will come; the transport closes itself."""
        self.reusable = False

    def connection_lost(self, exc: Exception | None) -> None:
        """End; an answer may end with its connection."""
        self.reusable = False
        self._end()

    # ---- httptools

    def on_message_begin(self) -> None:
        """Begin an answer, or notice that something stands behind the last one."""
        if self._whole:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if not self._whole and name.lower() == b"retry-after":
            self.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the status, unless another answer follows."""
        if self._whole:
            return
        status = self._parser.get_status_code()
        if status >= 200 or status == SWITCHING:
            self.status = status

    def on_message_complete(self) -> None:
        """End the answer."""
        if self._whole:
            return
        if self.status is None:
            self.retry_after = None  # an interim answer's
            return
        self._whole = True
        if not self._parser.should_keep_alive() or self.status == SWITCHING:
            self.close()
        self._end()

    def _end(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
