"""Writes a stream to its reader, at the reader's pace, and notices when it leaves."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from aiohttp import HttpVersion11, web

from shared.edge import limits
from shared.edge.http_shell.exchange import refuse
from shared.edge.stream_format import KEEP_ALIVE, StreamFormat

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from shared.edge.streams import StreamReader, StreamSink


def write_stream(
    request: web.Request, sink: StreamSink, reader: StreamReader
) -> Awaitable[web.StreamResponse]:
    """Answer with a stream, or with a proper status when the task fails before its first piece.

    Args:
        request: of the caller.
        sink: where the task's pieces go; bound to the task.
        reader: what `sink.attach` gave for this connection.
    """
    return _StreamWriter(request, sink, reader).run()


class _StreamWriter:
    """Writes one stream to one connection.

    There may be thousands that are idle, so it keeps little: an `asyncio.Event` alone has a queue of
    600 bytes. News cannot come between a look at the reader and the wait that follows it.
    """

    __slots__ = ("_limit", "_loop", "_news", "_reader", "_request", "_sink")

    def __init__(self, request: web.Request, sink: StreamSink, reader: StreamReader) -> None:
        self._request = request
        self._sink = sink
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Future[bool] | None = None  # what waits for news
        self._limit: asyncio.TimerHandle | None = None
        reader.notify = self._notified

    async def run(self) -> web.StreamResponse:
        try:
            return await self._answered()
        finally:
            self._reader.leave()  # whatever ended it, this connection reads no more
            if self._limit is not None:
                self._limit.cancel()

    async def _answered(self) -> web.StreamResponse:
        reader = self._reader
        while not reader.decided:
            await self._next()
        verdict = reader.verdict
        if verdict is not None:
            return refuse(self._request, verdict, self._sink.task_id or None)
        response = self._response()
        try:
            await response.prepare(self._request)
            await self._pump(response)
        except ConnectionError:  # the client has left, or takes nothing any more
            reader.leave()
            _abort(self._request)
        return response

    def _response(self) -> web.StreamResponse:
        headers = {
            "Content-Type": self._sink.form.content_type,
            # Proxies must neither keep, nor compress, nor collect the pieces.
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
        }
        if self._sink.task_id:
            headers["x-task-id"] = self._sink.task_id
        return web.StreamResponse(status=200, headers=headers)

    async def _pump(self, response: web.StreamResponse) -> None:
        reader = self._reader
        keeps_alive = self._sink.form is StreamFormat.SSE
        while not reader.done:
            data = reader.take()
            if data:
                self._bound()
                await response.write(data)
                reader.written()
            elif not keeps_alive:
                await self._next()
            elif not await self._next_within(limits.SSE_KEEP_ALIVE_S):
                self._bound()
                await response.write(KEEP_ALIVE)
        if reader.broken:
            _break_off(self._request)
        else:
            self._bound()
            await response.write_eof()

    def _next(self) -> asyncio.Future[bool]:
        """Return what is done once there may be something new."""
        self._news = self._loop.create_future()
        return self._news

    async def _next_within(self, silence_s: float) -> bool:
        """Wait for news; False when none came in time."""
        news = self._next()
        timer = self._loop.call_later(silence_s, _settle, news, False)
        try:
            return await news
        finally:
            timer.cancel()

    def _notified(self) -> None:
        if self._news is not None:
            _settle(self._news, True)
        if self._limit is None:  # for a write that began before the task had ended
            self._bound()

    def _bound(self) -> None:
        """Bound a write; as soon as the task has ended, its deadline no longer bounds the client: we do."""
        if self._reader.ending:
            if self._limit is not None:
                self._limit.cancel()
            self._limit = self._loop.call_later(limits.LINGER_S, _abort, self._request)


def _settle(news: asyncio.Future[bool], value: bool) -> None:
    if not news.done():
        news.set_result(value)


def _break_off(request: web.Request) -> None:
    """End the connection so that the client sees a broken transfer, after what was written."""
    transport = request.transport
    if transport is None:
        return
    if request.version >= HttpVersion11:  # chunked: the final chunk stays missing
        transport.close()
        asyncio.get_running_loop().call_later(limits.LINGER_S, transport.abort)
    else:  # HTTP/1.0: only a reset differs from a proper end
        _abort(request, reset=True)


def _abort(request: web.Request, *, reset: bool = False) -> None:
    transport = request.transport
    if transport is None:
        return
    raw = cast("socket.socket | None", transport.get_extra_info("socket"))
    if reset and raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
