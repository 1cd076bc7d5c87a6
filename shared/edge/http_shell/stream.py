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


async def write_stream(
    request: web.Request, sink: StreamSink, reader: StreamReader
) -> web.StreamResponse:
    """Answer with a stream, or with a proper status when the task fails before its first piece.

    Args:
        request: of the caller.
        sink: where the task's pieces go; bound to the task.
        reader: what `sink.attach` gave for this connection.
    """
    writer = _StreamWriter(request, sink, reader)
    try:
        return await writer.run()
    finally:
        reader.leave()  # whatever ended it, this connection reads no more


class _StreamWriter:
    """Writes one stream to one connection."""

    def __init__(self, request: web.Request, sink: StreamSink, reader: StreamReader) -> None:
        self._request = request
        self._sink = sink
        self._reader = reader
        self._news = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        reader.notify = self._notified

    async def run(self) -> web.StreamResponse:
        reader = self._reader
        while not reader.decided:
            await self._news.wait()
            self._news.clear()
        verdict = reader.verdict
        if verdict is not None:
            return refuse(self._request, verdict, self._sink.task_id or None)
        response = self._response()
        try:
            await response.prepare(self._request)
            await self._pump(response)
        except (ConnectionError, TimeoutError):  # the client has left, or takes nothing any more
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
        silence_s = limits.SSE_KEEP_ALIVE_S if self._sink.form is StreamFormat.SSE else None
        while not reader.done:
            data = reader.take()
            if data:
                await self._bounded(response.write(data))
                reader.written()
            elif not await self._news_within(silence_s):
                await self._bounded(response.write(KEEP_ALIVE))
        if reader.broken:
            _break_off(self._request)
        else:
            await self._bounded(response.write_eof())

    async def _news_within(self, silence_s: float | None) -> bool:
        try:
            async with asyncio.timeout(silence_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    async def _bounded(self, writing: Awaitable[None]) -> None:
        """Write; as soon as the task has ended, its deadline no longer bounds the client: we do."""
        bound_s = limits.LINGER_S if self._reader.ending else None
        try:
            async with asyncio.timeout(bound_s) as self._limit:
                await writing
        finally:
            self._limit = None

    def _notified(self) -> None:
        self._news.set()
        limit = self._limit  # of a write that began before the task had ended
        if limit is not None and limit.when() is None and self._reader.ending:
            limit.reschedule(asyncio.get_running_loop().time() + limits.LINGER_S)


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
