"""The application and its server: correlation ids, errors in the contract's body, limits."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from shared.edge import limits
from shared.edge.answers import render_failure
from shared.edge.headers import sanitised_correlation_id
from shared.edge.http_shell.exchange import CORRELATION, edge_headers, refuse, respond
from shared.errors import CODES, failure
from shared.log import Log, correlation_id

if TYPE_CHECKING:
    import socket

    from aiohttp.typedefs import Handler, Middleware

    from shared.ids import IdSource

CORRELATION_HEADER = "x-correlation-id"
SERVER = f"cabrank/{version('cabrank')}"  # the Server header of both shells of both processes
BACKLOG = 1024  # connections that wait to be accepted

_log = Log("http")


def edge_application(ids: IdSource) -> web.Application:
    """Return an application whose every answer has a correlation id and, when it fails, the contract's body.

    Args:
        ids: makes correlation ids for requests that bring none.
    """
    app = web.Application(middlewares=[_edge_middleware(ids)])
    app.on_response_prepare.append(_add_headers)
    return app


def _edge_middleware(ids: IdSource) -> Middleware:
    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        correlation_id.set(_correlate(request, ids))  # each request runs in a context of its own
        try:
            return await handler(request)
        except web.HTTPException as exc:
            return _http_error(request, exc)
        except Exception as exc:
            if request.writer.output_size:  # too late for a status: the transfer breaks
                _log.exception(f"{request.method} {request.path} failed in mid-answer", exc)
                raise ConnectionResetError from exc
            if not isinstance(exc, ConnectionError):
                _log.exception(f"{request.method} {request.path} failed", exc, action="http.failed")
            return refuse(request, failure("internal_error"))

    return edge


def _correlate(request: web.BaseRequest, ids: IdSource) -> str:
    given = request.headers.get(CORRELATION_HEADER)
    kept = sanitised_correlation_id(given, limits.MAX_CORRELATION_ID) or ids.next_id()
    request[CORRELATION] = kept
    return kept


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER
    correlation = request.get(CORRELATION)
    if correlation is not None:
        response.headers[CORRELATION_HEADER] = correlation


_CODE_OF_STATUS = {
    401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    408: "request_timeout", 413: "body_too_large", 431: "headers_too_large",
}  # fmt: skip


def _http_error(request: web.BaseRequest, exc: web.HTTPException) -> web.StreamResponse:
    """Return what aiohttp raised with the contract's body; redirects stay as they are."""
    if exc.status < 400:
        raise exc
    code = _CODE_OF_STATUS.get(exc.status, "bad_request" if exc.status < 500 else "internal_error")
    known = CODES[code].status == exc.status
    reason = failure(code) if known else failure(code, exc.reason)
    response = respond(request, render_failure(reason, edge_headers(request), status=exc.status))
    if isinstance(exc, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(exc.allowed_methods))
    return response


class EdgeRunner(web.AppRunner):
    """Runs an edge application with the limits and the error bodies of the edge.

    Args:
        app: what `edge_application` made.
        ids: makes correlation ids for requests that cannot be read.
        shutdown_timeout_s: how long requests may go on once the runner is cleaned up.
    """

    def __init__(
        self, app: web.Application, ids: IdSource, *, shutdown_timeout_s: float = 10.0
    ) -> None:
        super().__init__(
            app, access_log=None, shutdown_timeout=shutdown_timeout_s, handler_cancellation=True,
            keepalive_timeout=limits.KEEP_ALIVE_S,
        )  # fmt: skip
        self._ids = ids

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self.addresses[0][1])

    async def listen(self, listener: socket.socket) -> None:
        """Serve on a bound socket, without the fast lane before it, until the runner is cleaned up."""
        await web.SockSite(self, listener, backlog=BACKLOG).start()

    async def _make_server(self) -> web.Server:
        return _EdgeServer(await super()._make_server(), self._ids)


async def listen(
    app: web.Application, ids: IdSource, *, host: str, port: int, shutdown_timeout_s: float = 10.0
) -> EdgeRunner:
    """Serve an application until its runner is cleaned up.

    Raises:
        OSError: the address cannot be bound.
    """
    runner = EdgeRunner(app, ids, shutdown_timeout_s=shutdown_timeout_s)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


class _EdgeServer(web.Server):
    """Makes connections that answer malformed HTTP in the contract's words."""

    def __init__(self, inner: web.Server, ids: IdSource) -> None:
        self._handle = inner.request_handler
        self._ids = ids
        super().__init__(
            self._handled, request_factory=inner.request_factory, handler_cancellation=True
        )

    def __call__(self) -> web.RequestHandler:
        return _EdgeProtocol(
            self, ids=self._ids, loop=asyncio.get_running_loop(), access_log=None,
            keepalive_timeout=limits.KEEP_ALIVE_S, max_line_size=limits.MAX_LINE,
            max_field_size=limits.MAX_LINE, max_headers=limits.MAX_HEADERS,
        )  # fmt: skip

    async def _handled(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._handle(request)
        except web.HTTPException as exc:  # raised before any middleware: an unknown Expect
            if CORRELATION not in request:
                _correlate(request, self._ids)
            return _http_error(request, exc)


class _EdgeProtocol(web.RequestHandler):
    """One connection."""

    def __init__(self, manager: web.Server, *, ids: IdSource, **kwargs: object) -> None:
        super().__init__(manager, **kwargs)  # type: ignore[arg-type]
        self._ids = ids

    def log_exception(self, *args: object, exc_info: object = None) -> None:
        """Log what went wrong beside the handler; a body that is malformed is its sender's matter."""
        if isinstance(exc_info, HttpProcessingError | web.RequestPayloadError):
            _log.event("http.malformed", reason=type(exc_info).__name__)
        else:
            super().log_exception(*args, exc_info=exc_info)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read or handled; the connection is closed after it."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer has begun")
        if status < 500:
            too_large = isinstance(exc, LineTooLong) or "Too many headers" in (message or "")
            reason = failure("headers_too_large" if too_large else "bad_request")
            _log.event("http.malformed", reason=(message or "").partition("\n")[0][:200])
        else:
            reason = failure("internal_error")
            _log.exception("Request failed", exc)
        response = refuse(request, reason)
        response.headers[CORRELATION_HEADER] = self._ids.next_id()
        response.headers["Server"] = SERVER
        response.force_close()
        return response
