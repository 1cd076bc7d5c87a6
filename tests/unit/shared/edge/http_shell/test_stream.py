"""Sync answers and streams over a real connection: forms, ends, clients that leave or are slow."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from shared.edge.answers import render_outcome
from shared.edge.http_shell import (
    EdgeRunner,
    SyncSink,
    edge_application,
    edge_headers,
    listen,
    refuse,
    respond,
    write_stream,
)
from shared.edge.stream_format import choose
from shared.edge.streams import StreamSink
from shared.errors import Failure, failure
from shared.ids import SequentialIds
from shared.task import Outcome, Piece, PieceKind
from shared.task_state import TaskStatus
from tests.fakes.waiting import wait_until
from tests.unit.shared.edge.http_shell.wire import Answered, exchange

OK = Outcome(TaskStatus.SUCCEEDED, result=b'{"n":1}')
FAILED = Outcome(TaskStatus.FAILED, failure=failure("function_error", "boom"))


class Tasks:
    """An engine of one task at a time, which a test plays."""

    def __init__(self) -> None:
        self.port = 0
        self.stream: StreamSink | None = None
        self.sync: SyncSink | None = None
        self.granted = 0
        self.left = 0

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Answer a sync task."""
        self.sync = SyncSink()
        outcome = await self.sync.outcome(self._leave)
        return respond(request, render_outcome(outcome, "t-1", edge_headers(request)))

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Answer a streaming task."""
        sink = StreamSink(choose(request.headers.get("Accept")), asyncio.get_running_loop())
        sink.bind("t-1", on_grant=self._grant, on_leave=self._leave)
        self.stream = sink
        return await self._read(request, sink)

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """Let a reader come back."""
        assert self.stream is not None
        return await self._read(request, self.stream)

    async def _read(self, request: web.Request, sink: StreamSink) -> web.StreamResponse:
        reader = sink.attach(edge_headers(request).resume_after)
        if isinstance(reader, Failure):
            return refuse(request, reader)
        return await write_stream(request, sink, reader)

    def _grant(self, size: int) -> None:
        self.granted += size

    def _leave(self) -> None:
        self.left += 1

    async def begun(self) -> StreamSink:
        """Wait until the streaming task is submitted."""
        await wait_until(lambda: self.stream is not None, "the stream is asked for")
        assert self.stream is not None
        return self.stream

    async def called(self) -> SyncSink:
        """Wait until the sync task is submitted."""
        await wait_until(lambda: self.sync is not None, "the call came")
        assert self.sync is not None
        return self.sync

    def send(self, *texts: bytes) -> None:
        """Produce pieces."""
        assert self.stream is not None
        for text in texts:
            self.stream.piece(Piece(1, PieceKind.TEXT, text))


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    """A server of one task."""
    played = Tasks()
    app = edge_application(SequentialIds("made"))
    app.router.add_post("/call", played.call)
    app.router.add_post("/stream", played.begin)
    app.router.add_get("/resume", played.resume)
    runner: EdgeRunner = await listen(app, SequentialIds("bad"), host="127.0.0.1", port=0)
    played.port = runner.port
    yield played
    await runner.cleanup()


class Connection:
    """A client's connection, read as a test wishes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received = b""
        self.reset = False

    async def until(self, end: bytes) -> bytes:
        """Read up to some bytes."""
        while end not in self.received:
            part = await self.reader.read(65536)
            assert part, self.received
            self.received += part
        return self.received

    async def rest(self) -> Answered:
        """Read until the server closes."""
        try:
            while part := await self.reader.read(65536):
                self.received += part
        except ConnectionResetError:
            self.reset = True
        return Answered(self.received)


@asynccontextmanager
async def asking(
    port: int, path: str, *headers: str, version: str = "1.1"
) -> AsyncGenerator[Connection]:
    """Open a connection, ask, and close it in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    method = "GET" if path == "/resume" else "POST"
    lines = [f"{method} {path} HTTP/{version}", "Host: x", "Connection: close", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def _request(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


async def test_a_sync_call_waits_for_its_outcome(tasks: Tasks) -> None:
    """And is answered with it."""
    asked = asyncio.create_task(exchange(tasks.port, _request("/call")))
    sink = await tasks.called()
    sink.piece(Piece(1, PieceKind.TEXT, b"nobody reads pieces of a sync task"))
    sink.finished(OK)
    sink.finished(FAILED)
    answered = await asked
    assert json.loads(answered.body) == {"success": True, "result": {"n": 1}, "task_id": "t-1"}
    assert tasks.left == 0


async def test_a_sync_caller_that_leaves_is_noticed(tasks: Tasks) -> None:
    """At once, so that its task can be cancelled (fault 12)."""
    async with asking(tasks.port, "/call"):
        await tasks.called()
        assert tasks.left == 0
    await wait_until(lambda: tasks.left, "the leave is noticed")
    assert tasks.left == 1


FORMS = [
    (None, "text/plain; charset=utf-8", b"onetwo"),
    (
        "text/event-stream", "text/event-stream",
        b'id: 1\nevent: chunk\ndata: "one"\n\nid: 2\nevent: chunk\ndata: "two"\n\n'
        b'id: 3\nevent: result\ndata: {"n":1}\n\n'
        b'id: 4\nevent: end\ndata: {"task_id":"t-1","status":"succeeded"}\n\n',
    ),
    (
        "application/x-ndjson", "application/x-ndjson",
        b'{"id":1,"event":"chunk","data":"one"}\n{"id":2,"event":"chunk","data":"two"}\n'
        b'{"id":3,"event":"result","data":{"n":1}}\n'
        b'{"id":4,"event":"end","data":{"task_id":"t-1","status":"succeeded"}}\n',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("accept", "content_type", "body"), FORMS)
async def test_each_form_of_a_stream(
    tasks: Tasks, accept: str | None, content_type: str, body: bytes
) -> None:
    """Each piece goes out when it is made, whole streams end properly, and nothing collects them."""
    headers = ["Accept-Encoding: gzip", *([f"Accept: {accept}"] if accept else [])]
    async with asking(tasks.port, "/stream", *headers) as connection:
        sink = await tasks.begun()
        tasks.send(b"one")
        await connection.until(b"one")  # before the second is made: nothing holds it back (fault 7)
        tasks.send(b"two")
        await connection.until(b"two")
        sink.finished(OK)
        answered = await connection.rest()
    assert (answered.status, answered.complete, answered.body) == (200, True, body)
    assert answered.headers["content-type"] == content_type
    assert "content-encoding" not in answered.headers
    assert answered.headers["x-accel-buffering"] == "no"
    assert answered.headers["x-task-id"] == "t-1"
    assert answered.headers["x-correlation-id"] == "made-1"
    assert (tasks.granted, tasks.left) == (6, 0)


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream", "application/x-ndjson"])
async def test_an_error_before_the_first_piece_is_a_status(tasks: Tasks, accept: str) -> None:
    """A refused stream is not answered 200 (fault 8)."""
    async with asking(tasks.port, "/stream", f"Accept: {accept}") as connection:
        (await tasks.begun()).finished(FAILED)
        answered = await connection.rest()
    assert answered.status == 500
    assert json.loads(answered.body) == {
        "success": False, "error": "boom", "code": "function_error", "task_id": "t-1",
    }  # fmt: skip
    assert answered.headers["x-correlation-id"] == "made-1"


async def test_an_error_after_the_first_piece_breaks_plain_text(tasks: Tasks) -> None:
    """All that was produced arrives, the final chunk does not: no short success (fault 5)."""
    pieces = [b"%d" % number * 8192 for number in range(10)]
    async with asking(tasks.port, "/stream") as connection:
        sink = await tasks.begun()
        tasks.send(*pieces)
        sink.finished(FAILED)
        answered = await connection.rest()
    assert (answered.status, answered.body) == (200, b"".join(pieces))
    assert (answered.complete, connection.reset) == (False, False)


async def test_an_error_after_the_first_piece_is_told_in_band(tasks: Tasks) -> None:
    """SSE and NDJSON end properly, with an error event."""
    async with asking(tasks.port, "/stream", "Accept: application/x-ndjson") as connection:
        sink = await tasks.begun()
        tasks.send(b"one")
        sink.finished(FAILED)
        answered = await connection.rest()
    events = [json.loads(line) for line in answered.body.splitlines()]
    assert answered.complete
    assert [event["event"] for event in events] == ["chunk", "error", "end"]
    assert events[1]["data"] == {"error": "boom", "code": "function_error"}


async def test_http_1_0_gets_a_reset_instead_of_a_short_success(tasks: Tasks) -> None:
    """Without chunks a proper close would look like the end."""
    async with asking(tasks.port, "/stream", version="1.0") as connection:
        sink = await tasks.begun()
        tasks.send(b"one")
        await connection.until(b"one")
        sink.finished(FAILED)
        with pytest.raises(ConnectionResetError):
            await connection.reader.read()


async def test_http_1_0_gets_a_whole_stream(tasks: Tasks) -> None:
    """Its end is the close of the connection."""
    async with asking(tasks.port, "/stream", version="1.0") as connection:
        sink = await tasks.begun()
        tasks.send(b"one")
        sink.finished(OK)
        answered = await connection.rest()
    assert "transfer-encoding" not in answered.headers
    assert answered.body == b"one"


@pytest.mark.parametrize("pieces", [(), (b"one",)])
async def test_a_reader_of_plain_text_that_leaves_is_noticed(
    tasks: Tasks, pieces: tuple[bytes, ...]
) -> None:
    """Before the first piece and after it."""
    async with asking(tasks.port, "/stream") as connection:
        await tasks.begun()
        tasks.send(*pieces)
        for piece in pieces:
            await connection.until(piece)
        assert tasks.left == 0
    await wait_until(lambda: tasks.left, "the leave is noticed")


async def test_an_sse_reader_may_come_back(tasks: Tasks) -> None:
    """It is waited for, and goes on after the last event that it has."""
    async with asking(tasks.port, "/stream", "Accept: text/event-stream") as connection:
        sink = await tasks.begun()
        tasks.send(b"one", b"two")
        await connection.until(b"two")
    tasks.send(b"three")
    async with asking(tasks.port, "/resume", "Last-Event-ID: 1") as connection:
        await connection.until(b"three")
        sink.finished(OK)
        answered = await connection.rest()
    assert [line for line in answered.body.split(b"\n") if line.startswith(b"id")] == [
        b"id: 2", b"id: 3", b"id: 4", b"id: 5",
    ]  # fmt: skip
    assert tasks.left == 0


async def test_a_second_reader_takes_over_from_the_first(tasks: Tasks) -> None:
    """The first connection breaks off, the task goes on."""
    async with asking(tasks.port, "/stream", "Accept: text/event-stream") as first:
        sink = await tasks.begun()
        tasks.send(b"one")
        await first.until(b"one")
        async with asking(tasks.port, "/resume", "Last-Event-ID: 1") as second:
            assert not (await first.rest()).complete
            tasks.send(b"two")
            await second.until(b"two")
            sink.finished(OK)
            assert (await second.rest()).complete
    assert tasks.left == 0


async def test_a_slow_reader_holds_the_credit_back(tasks: Tasks) -> None:
    """What it does not take is not granted, so the function waits; nothing piles up without bound."""
    piece = b"x" * 65536
    async with asking(tasks.port, "/stream") as connection:
        sink = await tasks.begun()
        sent = 0
        # More than the sockets on the way hold: credit stops coming while nobody reads.
        while sent - tasks.granted < 8 * len(piece) and sent < 1000 * len(piece):
            tasks.send(piece)
            sent += len(piece)
            await asyncio.sleep(0)
        assert tasks.granted < sent < 1000 * len(piece)
        sink.finished(OK)
        answered = await connection.rest()
        assert (len(answered.body), answered.complete) == (sent, True)
        assert tasks.granted == sent


async def test_a_reader_that_takes_nothing_after_the_end_is_dropped(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No deadline bounds it any more, so the shell does."""
    monkeypatch.setattr("shared.edge.limits.LINGER_S", 0.05)
    piece = b"x" * 65536
    async with asking(tasks.port, "/stream") as connection:
        sink = await tasks.begun()
        sent = 0
        while sent - tasks.granted < 4 * len(piece):
            tasks.send(piece)
            sent += len(piece)
            await asyncio.sleep(0)
        granted = tasks.granted
        sink.finished(OK)
        await wait_until(lambda: tasks.granted > granted, "what was taken is given up")
        answered = await connection.rest()
        assert not answered.complete


async def test_a_silent_sse_stream_is_kept_alive(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By comments, which readers skip."""
    monkeypatch.setattr("shared.edge.limits.SSE_KEEP_ALIVE_S", 0.01)
    async with asking(tasks.port, "/stream", "Accept: text/event-stream") as connection:
        sink = await tasks.begun()
        tasks.send(b"one")
        await connection.until(b"one")
        await connection.until(b": keep-alive\n\n")
        sink.finished(OK)
        assert (await connection.rest()).complete


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
async def test_a_stream_that_was_read_is_freed_at_once(tasks: Tasks, accept: str) -> None:
    """Its events are not left to the garbage collector, which comes when it likes."""
    gc.disable()
    try:
        async with asking(tasks.port, "/stream", f"Accept: {accept}") as connection:
            sink = await tasks.begun()
            tasks.send(b"one")
            sink.finished(OK)
            assert (await connection.rest()).complete
        freed = weakref.ref(sink)
        tasks.stream = None
        del sink
        await wait_until(lambda: freed() is None, "nobody holds it")
    finally:
        gc.enable()
