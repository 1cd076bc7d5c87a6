"""Andera's worker as it was captured: two TCP servers that answer with its bytes.

Only what cannot be the same is put into them: the port of the slot socket (and the length that it
changes), and the proof that a WebSocket handshake asks for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.contract.worker.observed import exchanges
from tests.interop.capture import (
    AUTH_KEY,
    LB_KEY,
    Http,
    Message,
    State,
    answers_to,
    parsed_http,
    parsed_messages,
    read_http,
    read_message,
    socket_frames,
)

CAPTURED_PORT = b'"websocketPort":3101'
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
UNAUTHORIZED = b'{"error":"Unauthorized"}'
CLOSE_4001 = b"\x88\x0e\x0f\xa1Unauthorized"

READY, DRAINING = State("ready", 0), State("maintenance", 1)
BUSY = State("ready", 1)


class ScriptedWorker:
    """One captured worker.

    Attributes:
        url: of its HTTP server.
        state: which of the captured answers it gives: one state is played at a time.
        requests: everything that was asked by HTTP, and the upgrades.
        messages: what came on slot sockets.
        sockets: slot sockets that were opened so far.
        mute: it does not answer on slot sockets any more.
        answers: the captured answer to a task, by a mark in the request's body.
        unplayed: everything captured that it has not said yet.
    """

    def __init__(self) -> None:
        self.url = ""
        self.state = READY
        self.lb_key = LB_KEY  # for HTTP
        self.socket_key = LB_KEY
        self.requests: list[Http] = []
        self.messages: list[Message] = []
        self.sockets = 0
        self.mute = False
        self.answers = {mark: answers_to(mark)[0] for mark in (b'"Ada"', b'"Bo"', b'"Cy"')}
        self.unplayed: set[bytes] = set(self.answers.values())
        self._health: dict[State, list[bytes]] = {}
        self._pongs: dict[State, list[bytes]] = {}
        self._pushes: dict[State, list[bytes]] = {}
        self._accepted = b""
        self._port = b""
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def tasks(self) -> list[Http]:
        """Return the tasks that came."""
        return [each for each in self.requests if each.first.startswith("POST /task ")]

    async def start(self) -> None:
        """Learn the capture and listen."""
        for answer in answers_to(b"GET /health"):
            self._health.setdefault(State.of((await parsed_http(answer)).json), []).append(answer)
        _, accepted, frames = socket_frames()
        self._accepted = accepted.data
        for frame in frames:
            if not frame.to_worker:
                said = [message.json for message in await parsed_messages(frame.data)]
                kind = self._pushes if "system" in said[0] else self._pongs
                kind.setdefault(State.of(said[0]), []).append(frame.data)
        for kind in (self._health, self._pongs, self._pushes):
            self.unplayed.update(*kind.values())
        self._port = b"%d" % await self._listen(self._serve_socket)
        self.url = f"http://127.0.0.1:{await self._listen(self._serve_http)}"

    async def stop(self) -> None:
        """Break every connection and listen no more."""
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def push(self, state: State) -> None:
        """Say on every slot socket all that was captured in a state, in the captured pieces."""
        self.state = state
        for writer in self._open:
            for data in self._pushes[state]:
                writer.write(self._played(data))

    def _played(self, data: bytes) -> bytes:
        self.unplayed.discard(data)
        return data

    def _next(self, kind: dict[State, list[bytes]]) -> bytes:
        """Return what was captured in this state, one after the other and again from the beginning."""
        found = kind[self.state]
        found.append(found.pop(0))
        return self._played(found[-1])

    async def _listen(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> int:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._serving.add(task)
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
                pass  # the balancer has gone
            finally:
                self._serving.discard(task)
                writer.close()

        server = await asyncio.start_server(served, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    # HTTP

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = await read_http(reader)
            self.requests.append(asked)
            writer.write(self._answer(asked))
            await writer.drain()

    def _answer(self, asked: Http) -> bytes:
        knows = asked.headers.get("x-lb-auth") == self.lb_key
        if asked.first.startswith("GET /health "):
            health = self._next(self._health).replace(
                CAPTURED_PORT, b'"websocketPort":' + self._port
            )
            public = b'{"status":"%b"}' % self.state.status.encode()
            return _with_length(health if knows else _with_body(health, public))
        some = next(iter(self.answers.values()))
        if not knows or asked.headers.get("authorization") != AUTH_KEY:
            return _with_length(
                _with_body(some, UNAUTHORIZED).replace(b"200 OK", b"401 Unauthorized")
            )
        answers = (answer for mark, answer in self.answers.items() if mark in asked.body)
        return self._played(next(answers))

    # The slot socket

    async def _serve_socket(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked = await read_http(reader)
        self.requests.append(asked)
        self.sockets += 1
        writer.write(self._accept(asked))
        if asked.headers.get("sec-websocket-protocol") != self.socket_key:
            writer.write(CLOSE_4001)
            await writer.drain()
            return
        self._open.add(writer)
        try:
            while True:
                self.messages.append(await read_message(reader))
                if not self.mute:
                    writer.write(self._next(self._pongs))
        finally:
            self._open.discard(writer)

    def _accept(self, asked: Http) -> bytes:
        key = asked.headers["sec-websocket-key"].encode()
        proof = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        offered = asked.headers["sec-websocket-protocol"].encode()
        values = {b"Sec-WebSocket-Accept": proof, b"Sec-WebSocket-Protocol": offered}
        lines = self._accepted.split(b"\r\n")
        for n, line in enumerate(lines):
            name = line.partition(b":")[0]
            if name in values:
                lines[n] = name + b": " + values[name]
        return b"\r\n".join(lines)


def _with_body(answer: bytes, body: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body


def _with_length(answer: bytes) -> bytes:
    """Return an answer whose body was changed with the length that it has now."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = [
        b"Content-Length: %d" % len(body) if line.startswith(b"Content-Length:") else line
        for line in head.split(b"\r\n")
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def captured_task(mark: bytes) -> dict[str, object]:
    """Return the task that Andera's balancer sent, without what is its own business."""
    ((request, _),) = [pair for pair in exchanges() if mark in pair[0]]
    body = request[request.index(b'{"group"') : request.rindex(b"}") + 1]
    task: dict[str, object] = json.loads(body)
    task.pop("_taskId", None)
    return task


@asynccontextmanager
async def scripted_worker() -> AsyncGenerator[ScriptedWorker]:
    """Run one while the context lasts."""
    worker = ScriptedWorker()
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
