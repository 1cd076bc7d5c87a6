"""A worker of Andera 0.1 as it was observed: HTTP on one port, the slot socket on another (contract §7).

It answers with the texts and statuses of `tests/contract/andera`, and has the ancestor's habits: errors
without codes, 500 for time-outs and parameters, streams refused with 200 on wish, no link, no resume.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

from aiohttp import WSMsgType, web

AUTH_KEY = "andera-worker-key"
JsonObject = dict[str, object]
TELL_S = 0.05  # the real one tells each second

Call = Callable[[JsonObject], Awaitable[object]]


class Refuse(Exception):
    """A function raises: its text becomes the error, status 500."""


class AnderaWorker:
    """One worker.

    Attributes:
        port: where it listens for HTTP; 0 takes a free one, which is kept over restarts.
        bodies: the tasks that came, as they came.
        headers: the headers of those requests, names in lower case.
        pings: the literal `ping`s that came.
        maintenance: it takes no new task.
        refuse_streams_with_200: what Andera's balancer made of a refused stream.
        has_socket: it serves the slot socket.
        used: calls that run.
        looks: questions to /health.
        keys: keys of tasks that it takes.
        calls: functions by name.
        pieces: streams by name.
        functions: what /health says about them, when that is not to be made from their names.
        system: what it tells of its machine.
    """

    def __init__(self, lb_key: str, *, limit: int = 2) -> None:
        self.port = 0
        self.bodies: list[JsonObject] = []
        self.headers: list[dict[str, str]] = []
        self.pings = 0
        self.maintenance = False
        self.refuse_streams_with_200 = False
        self.has_socket = True
        self.used = 0
        self.limit = limit
        self.looks = 0
        self.keys = {AUTH_KEY}
        self.calls: dict[str, Call] = {"hello": _hello, "fail": _fail, "short": _short}
        self.pieces: dict[str, list[str]] = {"streamy": ["Hello ", "World!\n"]}
        self.functions: list[JsonObject] = []
        self.system: JsonObject = {"uptime": 1.5, "usedMemoryPercent": 2, "cpuLoad": 0.5}
        self._lb_key = lb_key
        self._runners: list[web.AppRunner] = []
        self._sockets: set[web.WebSocketResponse] = set()
        self._socket_port = 0

    @property
    def url(self) -> str:
        """Return the address of an entry of workers.json."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; in maintenance never, as after a restart of the process."""
        self.maintenance = False
        self._socket_port = await self._serve(0, web.get("/", self._slots))
        self.port = await self._serve(
            self.port,
            web.get("/health", self._health),
            web.post("/task", self._task),
            web.post("/on", self._on),
            web.post("/off", self._off),
        )

    async def stop(self) -> None:
        """Stop listening and break every connection."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def close_sockets(self) -> None:
        """Close the slot sockets; they may be opened again."""
        for socket in list(self._sockets):
            await socket.close()

    async def _serve(self, port: int, *routes: web.RouteDef) -> int:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        return int(runner.addresses[0][1])

    # HTTP

    async def _health(self, request: web.Request) -> web.Response:
        self.looks += 1
        if request.headers.get("x-lb-auth") != self._lb_key:
            return web.json_response({"status": self._status()})
        names = sorted([*self.calls, *self.pieces])
        functions = self.functions or [{"name": name, "params": {}} for name in names]
        whole: JsonObject = {
            "status": self._status(), "group": "default", "contract": 1,
            "websocketPort": self._socket_port, "functions": functions, "services": [],
            "tags": {"model": "m1"}, "slots": self._slot_numbers(), "system": self.system,
        }  # fmt: skip
        return web.json_response(whole)

    async def _on(self, request: web.Request) -> web.Response:
        return self._ordered(request, False, "ready", "Maintenance mode disabled")

    async def _off(self, request: web.Request) -> web.Response:
        return self._ordered(request, True, "maintenance", "Maintenance mode enabled")

    def _ordered(self, request: web.Request, on: bool, status: str, text: str) -> web.Response:
        if request.headers.get("authorization") != AUTH_KEY:
            return web.json_response({"error": "Unauthorized"}, status=401)
        self.maintenance = on
        return web.json_response({"status": status, "message": text})

    async def _task(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if request.headers.get("authorization") not in self.keys:
            return web.json_response({"error": "Unauthorized"}, status=401)
        if request.headers.get("x-lb-auth") not in (None, self._lb_key):
            return web.json_response({"error": "Unauthorized"}, status=401)
        body = cast("JsonObject", await request.json())
        self.bodies.append(body)
        if self.maintenance:
            return web.json_response({"error": "Worker is in maintenance mode"}, status=503)
        name = str(body["function"])
        if name not in self.calls and name not in self.pieces:
            return web.json_response({"error": f"Function '{name}' not found"}, status=404)
        self.used += 1
        try:
            if body.get("mode") == "stream":
                return await self._stream(request, name)
            return await self._call(name, cast("JsonObject", body.get("input") or {}))
        finally:
            self.used -= 1

    async def _call(self, name: str, given: JsonObject) -> web.Response:
        try:
            result = await self.calls[name](given)
        except Refuse as exc:
            return web.json_response({"success": False, "error": str(exc)}, status=500)
        body: JsonObject = {"success": True}
        return web.json_response(body if result is None else {**body, "result": result})

    async def _stream(self, request: web.Request, name: str) -> web.StreamResponse:
        if name not in self.pieces:
            status = 200 if self.refuse_streams_with_200 else 400
            text = f"Function '{name}' does not support streaming"
            return web.json_response({"error": text}, status=status)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        compress = "gzip" in request.headers.get("accept-encoding", "")
        pieces = self.pieces[name]
        await response.prepare(request)
        # With a client that takes gzip, Express' middleware keeps the pieces back to the end.
        for piece in ["".join(pieces)] if compress else pieces:
            if piece == "<raise>":
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(piece.encode())
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    # The slot socket

    async def _slots(self, request: web.Request) -> web.StreamResponse:
        if not self.has_socket:
            return web.Response(status=404)
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        socket = web.WebSocketResponse(protocols=[offered] if offered else [])
        await socket.prepare(request)
        if offered != self._lb_key:
            await socket.close(code=4001, message=b"Unauthorized")
            return socket
        self._sockets.add(socket)
        telling = asyncio.ensure_future(self._tell(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and message.data == "ping":
                    self.pings += 1
                    short = {"status": self._status(), "slots": self._slot_numbers()}
                    await socket.send_str(json.dumps(short))
        finally:
            self._sockets.discard(socket)
            telling.cancel()
        return socket

    async def _tell(self, socket: web.WebSocketResponse) -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(TELL_S)
                told: JsonObject = {
                    "status": self._status(), "slots": self._slot_numbers(),
                    "system": self.system, "services": [],
                }  # fmt: skip
                await socket.send_str(json.dumps(told))

    def _status(self) -> str:
        return "maintenance" if self.maintenance else "ready"

    def _slot_numbers(self) -> dict[str, int]:
        used = min(self.used, self.limit)
        free = 0 if self.maintenance else self.limit - used
        return {"used": used, "available": free, "limit": self.limit, "queue": self.used - used}


async def _hello(given: JsonObject) -> object:
    return {"message": f"Hello {given.get('name', 'World')}!"}


async def _fail(given: JsonObject) -> object:
    del given
    raise Refuse("boom")


async def _short(given: JsonObject) -> object:
    del given
    raise Refuse("Timeout")


@asynccontextmanager
async def andera_worker(lb_key: str, **settings: int) -> AsyncGenerator[AnderaWorker]:
    """Run one while the context lasts."""
    worker = AnderaWorker(lb_key, **settings)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
