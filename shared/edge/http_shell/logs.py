"""`GET /logs` of both processes: the ring's lines, at once or as they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from shared.edge import limits
from shared.edge.answers import render_value
from shared.edge.http_shell.exchange import edge_headers, refuse, respond
from shared.edge.stream_format import KEEP_ALIVE, StreamFormat
from shared.errors import Failure
from shared.log_ring import LogQuery

if TYPE_CHECKING:
    from shared.log_ring import LogRing


async def answer_logs(request: web.Request, ring: LogRing) -> web.StreamResponse:
    """Answer `GET /logs` of an authorized caller; with `follow=sse`, one event a line without end."""
    query = LogQuery.parse(request.query)
    if isinstance(query, Failure):
        return refuse(request, query)
    if not query.follow:
        return respond(request, render_value({"logs": ring.lines(query)}, edge_headers(request)))
    news = asyncio.Event()
    follower = ring.subscribe(query, news.set)
    if isinstance(follower, Failure):
        return refuse(request, follower)
    headers = {
        "Content-Type": StreamFormat.SSE.content_type,
        "Cache-Control": "no-cache, no-transform",
    }
    response = web.StreamResponse(headers=headers)
    lines = ring.lines(query)  # at the same moment: no line is missed, none comes twice
    try:
        await response.prepare(request)
        while True:
            async with asyncio.timeout(limits.LINGER_S):
                await response.write(
                    "".join(f"data: {line}\n\n" for line in lines).encode() or KEEP_ALIVE
                )
            try:
                async with asyncio.timeout(limits.SSE_KEEP_ALIVE_S):
                    await news.wait()
            except TimeoutError:
                pass
            news.clear()
            lines = follower.take()
    except (ConnectionError, TimeoutError):  # it has left, or takes nothing any more
        if request.transport is not None:
            request.transport.abort()
        return response
    finally:
        follower.close()
