"""One request and its one answer: headers, body, answers of the codec, the sink of a waiting caller."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from shared.edge import limits
from shared.edge.answers import Answer, render_failure
from shared.edge.headers import EdgeHeaders
from shared.errors import Failure, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.task import Outcome, Piece

CORRELATION = web.RequestKey("correlation_id", str)  # where a request keeps its correlation id


def edge_headers(request: web.BaseRequest) -> EdgeHeaders:
    """Return the headers that mean something to the codec."""
    get = request.headers.get
    return EdgeHeaders(
        authorization=get("Authorization"),
        lb_auth=get("x-lb-auth"),
        wr_auth=get("x-wr-auth"),
        content_type=get("Content-Type"),
        accept=get("Accept"),
        correlation_id=request.get(CORRELATION),
        last_event_id=get("Last-Event-ID"),
        prefer=_joined(request, "Prefer"),
        idempotency_key=_joined(request, "Idempotency-Key"),
    )


def _joined(request: web.BaseRequest, name: str) -> str | None:
    """Return a header that may come in several lines as the one that these are short for."""
    if request.headers.get(name) is None:  # nor has a malformed request any, whose headers are none
        return None
    return ", ".join(request.headers.getall(name))


async def read_body(request: web.Request, limit: int) -> bytes | Failure:
    """Return the whole body, unless it is too large, too slow or malformed.

    Args:
        request: whose sender is authorized: a stranger's body is not read.
        limit: REQUEST_BODY_LIMIT, in bytes after any content encoding is undone.
    """
    length = request.content_length
    if length is not None and length > limit:
        return failure("body_too_large")
    try:
        if request.content.is_eof():  # all of it came with the headers: no timer is needed
            return await _read(request, limit)
        async with asyncio.timeout(limits.BODY_TIMEOUT_S):
            return await _read(request, limit)
    except TimeoutError:
        return failure("request_timeout")
    except web.RequestPayloadError:
        return failure("bad_request", "Malformed request body")


async def _read(request: web.Request, limit: int) -> bytes | Failure:
    parts: list[bytes] = []
    size = 0
    while part := await request.content.readany():
        size += len(part)
        if size > limit:
            return failure("body_too_large")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def respond(request: web.BaseRequest, answer: Answer) -> web.Response:
    """Return an answer of the codec as aiohttp's; the correlation id is added on the way out."""
    response = web.Response(status=answer.status, body=answer.body)
    response.headers["Content-Type"] = answer.content_type
    for name, value in answer.headers:
        response.headers[name] = value
    return response


def refuse(request: web.BaseRequest, reason: Failure, task_id: str | None = None) -> web.Response:
    """Return the answer that tells a failure."""
    return respond(request, render_failure(reason, edge_headers(request), task_id))


class SyncSink:
    """Where the end of a task goes whose caller waits for one answer."""

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        self._ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def piece(self, piece: Piece) -> None:
        """Drop a piece: this caller did not ask for a stream."""

    def finished(self, outcome: Outcome) -> None:
        """Take the end."""
        if not self._ended.done():
            self._ended.set_result(outcome)

    async def outcome(self, on_leave: Callable[[], None]) -> Outcome:
        """Wait for the end.

        Args:
            on_leave: called when the caller goes away before: cancel the task.
        """
        try:
            return await self._ended
        except asyncio.CancelledError:
            on_leave()
            raise
