"""A small balancer: one process, no queue, real HTTP, speaking the contract's §2 and §5 to clients.

What it answers is worded by the product's own edge (`shared/edge`), so a client that understands it
understands the product. A test scripts it with functions and with refusals.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Self, cast

import msgspec
from aiohttp import web

from shared.edge.answers import Answer, render_accepted, render_failure, render_outcome
from shared.edge.headers import EdgeHeaders, is_durable
from shared.edge.http_shell.stream import write_stream
from shared.edge.stream_format import StreamFormat, choose
from shared.edge.streams import StreamSink
from shared.errors import CabrankError, Failure, FunctionError, failure
from shared.task import Mode, Outcome, Piece
from shared.task_state import TaskStatus

Input = dict[str, object]
Call = Callable[[Input], Awaitable[object]]
Stream = Callable[[Input], AsyncIterator[Piece]]
KEY = "the-key"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class ContractServer:
    """Answers the routes that the client uses; `async with ContractServer() as server`.

    Attributes:
        url: where it listens.
        calls: functions by name: input → result, or an error of the tree.
        streams: streaming functions by name: input → pieces.
        bodies: the bodies of `POST /task`, as they came.
        headers: the headers of every request, as they came.
        queries: their queries.
        records: the durable tasks.
        workers: what `GET /workers` shows.
        redirect: where every request is sent to instead.
        refusals: answered to the next requests instead of anything else.
        left: names of streams that were cancelled before their end.
        cuts: seconds after which the connection of the next stream is cut, then of the one after it.
    """

    def __init__(self) -> None:
        self.url = ""
        self.calls: dict[str, Call] = {}
        self.streams: dict[str, Stream] = {}
        self.bodies: list[Input] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.records: dict[str, Input] = {}
        self.refusals: list[Failure] = []
        self.left: list[str] = []
        self.cuts: list[float] = []
        self.workers: list[Input] = []
        self.redirect: str | None = None
        self._made = 0
        self._transports: set[asyncio.Transport] = set()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._sinks: dict[str, StreamSink] = {}
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/task", self._task),
                web.get("/tasks", self._list),
                web.get("/tasks/{id}", self._show),
                web.get("/tasks/{id}/stream", self._resume),
                web.post("/tasks/{id}/cancel", self._cancel),
                web.get("/workers", self._workers),
                web.get("/health", self._health),
            ]
        )
        # As the product's own edge: a reader that leaves ends the handler.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and end what runs."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._runner.cleanup()

    async def abort_connections(self) -> None:
        """Cut every connection, as a process that is killed does."""
        for transport in self._transports:
            transport.abort()
        await asyncio.sleep(0)

    def forget_streams(self) -> None:
        """Keep no stream for readers that come back."""
        self._sinks.clear()

    def finish(self, task_id: str, **members: object) -> None:
        """End a durable task: `status` and what else its record says."""
        self.records[task_id] |= {"finished_at": AT.isoformat(), **members}

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        headers = _edge_headers(request)
        if isinstance(request.transport, asyncio.Transport):
            self._transports.add(request.transport)
        if self.redirect is not None:
            raise web.HTTPTemporaryRedirect(self.redirect)
        if self.refusals:
            return _response(render_failure(self.refusals.pop(0), headers))
        if request.path != "/health" and headers.authorization != f"Bearer {KEY}":
            return _response(render_failure(failure("unauthorized"), headers))
        return await handler(request)

    async def _task(self, request: web.Request) -> web.StreamResponse:
        headers = _edge_headers(request)
        body = cast("Input", await request.json())
        self.bodies.append(body)
        name, mode = str(body.get("function")), Mode(cast("str", body.get("mode", "sync")))
        given = cast("Input", body.get("input", {}))
        task_id = self._new_id()
        if mode is Mode.STREAM and name in self.streams:
            return await self._stream(request, name, self.streams[name](given), task_id)
        if name not in self.calls:
            reason = failure("function_not_found", f"Function '{name}' not found")
            return _response(render_failure(reason, headers))
        if is_durable(mode, headers):
            self.records[task_id] = self._record(task_id, body)
            return _response(render_accepted(task_id, headers, mode))
        outcome = await _outcome(self.calls[name](given))
        return _response(render_outcome(outcome, task_id, headers))

    async def _stream(
        self, request: web.Request, name: str, pieces: AsyncIterator[Piece], task_id: str
    ) -> web.StreamResponse:
        form = choose(request.headers.get("Accept"))
        assert form is StreamFormat.SSE, "the client reads Server-Sent Events"
        sink = StreamSink(form, asyncio.get_running_loop())
        self._sinks[task_id] = sink
        producer = asyncio.create_task(self._produce(sink, name, pieces))
        self._running[task_id] = producer
        sink.bind(task_id, on_grant=_no_credit, on_leave=lambda: _cancel(producer))
        return await self._read(request, sink, 0)

    async def _read(
        self, request: web.Request, sink: StreamSink, last_event_id: int
    ) -> web.StreamResponse:
        reader = sink.attach(last_event_id)
        if isinstance(reader, Failure):
            return _response(render_failure(reader, _edge_headers(request)))
        if self.cuts and request.transport is not None:
            # Ends the connection in the middle of the stream, as a network does.
            asyncio.get_running_loop().call_later(self.cuts.pop(0), request.transport.abort)
        return await write_stream(request, sink, reader)

    async def _produce(self, sink: StreamSink, name: str, pieces: AsyncIterator[Piece]) -> None:
        try:
            async for piece in pieces:
                sink.piece(piece)
                await asyncio.sleep(0)
        except CabrankError as exc:
            sink.finished(Outcome(TaskStatus.FAILED, failure=exc.failure))
        except asyncio.CancelledError:
            self.left.append(name)
            sink.finished(Outcome(TaskStatus.CANCELLED, failure=failure("cancelled")))
        else:
            sink.finished(Outcome(TaskStatus.SUCCEEDED, result=b'{"all":true}'))

    async def _resume(self, request: web.Request) -> web.StreamResponse:
        sink = self._sinks.get(request.match_info["id"])
        if sink is None:
            return _response(render_failure(failure("task_not_found"), _edge_headers(request)))
        return await self._read(request, sink, int(request.headers.get("Last-Event-ID", 0)))

    async def _show(self, request: web.Request) -> web.Response:
        record = self.records.get(request.match_info["id"])
        if record is None:
            return _response(render_failure(failure("task_not_found"), _edge_headers(request)))
        return web.json_response(record)

    async def _list(self, request: web.Request) -> web.Response:
        newest = list(reversed(self.records.values()))
        wanted = [
            each
            for each in newest
            if request.query.get("function", each["function"]) == each["function"]
        ]
        start, limit = int(request.query.get("cursor", 0)), int(request.query.get("limit", 100))
        more = str(start + limit) if len(wanted) > start + limit else None
        return web.json_response({"tasks": wanted[start : start + limit], "next": more})

    async def _cancel(self, request: web.Request) -> web.Response:
        task_id = request.match_info["id"]
        record = self.records.get(task_id)
        headers = _edge_headers(request)
        if task_id in self._running:
            self._running[task_id].cancel()
            return web.json_response({"success": True, "task_id": task_id})
        if record is None:
            return _response(render_failure(failure("task_not_found"), headers))
        if record["finished_at"] is not None:
            return _response(render_failure(failure("task_finished"), headers))
        self.finish(str(record["task_id"]), status="cancelled", code="cancelled")
        return web.json_response({"success": True, "task_id": record["task_id"]})

    async def _workers(self, _: web.Request) -> web.Response:
        return web.json_response({"workers": self.workers})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    def _new_id(self) -> str:
        self._made += 1
        return f"task-{self._made}"

    def _record(self, task_id: str, body: Input) -> Input:
        return {
            "task_id": task_id,
            "group": body.get("group", "default"),
            "function": body["function"],
            "contract": body["contract"],
            "mode": body.get("mode", "sync"),
            "priority": body.get("priority", 1),
            "status": "queued",
            "created_at": AT.isoformat(),
            "started_at": None,
            "finished_at": None,
            "attempts": [],
            "worker": None,
            "metadata": body.get("metadata"),
            "a_field_of_tomorrow": True,
        }


async def _outcome(result: Awaitable[object]) -> Outcome:
    try:
        value = await result
    except CabrankError as exc:
        return Outcome(TaskStatus.FAILED, failure=exc.failure)
    return Outcome(
        TaskStatus.SUCCEEDED, result=None if value is None else msgspec.json.encode(value)
    )


def _edge_headers(request: web.Request) -> EdgeHeaders:
    return EdgeHeaders(
        authorization=request.headers.get("Authorization"),
        accept=request.headers.get("Accept"),
        prefer=request.headers.get("Prefer"),
    )


def _response(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type, **dict(answer.headers)}
    return web.Response(status=answer.status, body=answer.body, headers=headers)


async def echo(given: Input) -> object:
    """Return the input."""
    return given


async def nothing(_: Input) -> object:
    """Return nothing."""
    return None


async def fail(given: Input) -> object:
    """Fail as a function that raised."""
    reason = Failure("function_error", str(given.get("text", "boom")), error_type="ValueError")
    raise FunctionError(failure=reason)


def _no_credit(size: int) -> None:
    """Take no notice: the fake's functions wait for nobody."""


def _cancel(producer: asyncio.Task[None]) -> None:
    producer.cancel()
