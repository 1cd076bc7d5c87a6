"""Mode stream on a worker that is asked directly (contract §2 "Streams")."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import aiohttp
import pytest

from tests.contract.worker.running import AS_CLIENT, JsonObject, RunningWorker, running_worker
from tests.fakes.waiting import wait_until
from worker import Context, function

SSE = {**AS_CLIENT, "Accept": "text/event-stream"}
NDJSON = {**AS_CLIENT, "Accept": "application/x-ndjson"}


@function(streaming=True)
async def every(*, ctx: Context) -> str:
    """Streams a piece of each kind, tells its progress and returns something."""
    await ctx.stream("täxt\n")
    await ctx.stream(b"\x00\xff")
    ctx.progress(1, 2, "half")
    await ctx.stream({"a": [1, None]})
    return "end"


@function
async def numbers(count: int) -> AsyncIterator[str]:
    """Yields numbers."""
    for number in range(count):
        yield f"{number}\n"


@function
def words() -> Iterator[str]:
    """Yields from a thread."""
    yield "a"
    yield "b"


@function(streaming=True)
async def fails(*, ctx: Context, first: bool) -> None:
    """Raises, before its first piece or after it."""
    if not first:
        await ctx.stream("part1\n")
    raise RuntimeError("mid")


@pytest.fixture
async def worker() -> AsyncGenerator[RunningWorker]:
    """A worker with these functions."""
    async with running_worker([every, numbers, words, fails]) as running:
        yield running


def _stream(name: str, **input_: object) -> JsonObject:
    return {"function": name, "mode": "stream", "input": input_}


def _events(body: bytes) -> list[tuple[str, str, object]]:
    """Return the events of an SSE body as (id, event, data)."""
    events: list[tuple[str, str, object]] = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        if fields:
            events.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return events


async def test_plain_text_is_exactly_the_pieces(worker: RunningWorker) -> None:
    """Text and bytes verbatim, JSON compact with a newline; progress and return value left out."""
    reply = await worker.task(_stream("every"))
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert reply.body == b"t\xc3\xa4xt\n\x00\xff" + b'{"a":[1,null]}\n'


async def test_sse_tells_everything_in_order(worker: RunningWorker) -> None:
    """Numbers go up by one; chunks, progress, the return value and the end are events."""
    reply = await worker.task(_stream("every"), SSE)
    assert reply.headers["Content-Type"] == "text/event-stream"
    events = _events(reply.body)
    assert [each[0] for each in events] == [str(n) for n in range(1, len(events) + 1)]
    kinds = [each[1] for each in events]
    assert [kind for kind in kinds if kind != "progress"] == ["chunk"] * 3 + ["result", "end"]
    assert kinds.count("progress") == 1
    assert ("chunk", {"a": [1, None]}) in [each[1:] for each in events]
    assert ("result", "end") in [each[1:] for each in events]


async def test_ndjson_tells_the_same_one_object_a_line(worker: RunningWorker) -> None:
    """Each line is an object with `id`, `event` and `data`."""
    reply = await worker.task(_stream("numbers", count=2), NDJSON)
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert [(line["id"], line["event"], line["data"]) for line in lines[:2]] == [
        (1, "chunk", "0\n"),
        (2, "chunk", "1\n"),
    ]
    assert lines[-1]["event"] == "end"
    assert lines[-1]["data"]["status"] == "succeeded"


async def test_a_generator_in_a_thread_streams(worker: RunningWorker) -> None:
    """`def` with `yield` needs no declaration."""
    assert (await worker.task(_stream("words"))).body == b"ab"


@pytest.mark.parametrize("headers", [AS_CLIENT, SSE, NDJSON])
async def test_an_error_before_the_first_piece_is_a_status(
    worker: RunningWorker, headers: dict[str, str]
) -> None:
    """Whatever form was asked for, the answer is a JSON body with the status."""
    reply = await worker.task(_stream("fails", first=True), headers)
    assert (reply.status, reply.code, reply.json["error"]) == (500, "function_error", "mid")


@pytest.mark.parametrize("headers", [AS_CLIENT, SSE, NDJSON])
async def test_a_wrong_parameter_is_a_status(
    worker: RunningWorker, headers: dict[str, str]
) -> None:
    """Parameters are checked before the first piece."""
    reply = await worker.task(_stream("numbers"), headers)
    assert (reply.status, reply.code) == (400, "invalid_params")


async def test_an_error_after_the_first_piece_is_told_in_band(worker: RunningWorker) -> None:
    """SSE says `error` and then `end`."""
    reply = await worker.task(_stream("fails", first=False), SSE)
    assert reply.status == 200
    (_, _, error), (_, _, end) = _events(reply.body)[-2:]
    assert error == {"error": "mid", "code": "function_error", "error_type": "RuntimeError"}
    assert isinstance(end, dict)
    assert end["status"] == "failed"


async def test_plain_text_breaks_off_after_an_error(worker: RunningWorker) -> None:
    """The final chunk stays missing, so that the client sees a broken transfer."""
    with pytest.raises(aiohttp.ClientPayloadError):
        await worker.task(_stream("fails", first=False))


async def test_a_slow_reader_slows_the_function_down() -> None:
    """The function does not run ahead of a client that reads nothing."""
    made = 0

    @function
    async def flood() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"x" * 65536

    async with running_worker([flood]) as worker:
        body = json.dumps({"contract": 1, **_stream("flood")}).encode()
        reader, writer = await worker.connect()
        head = f"POST /task HTTP/1.1\r\nHost: x\r\nAuthorization: wk\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await reader.readline()
        before = -1

        def stands() -> bool:
            nonlocal before
            before, same = made, made == before
            return same

        await wait_until(stands, "the function stands still", interval_s=0.2)
        assert made < 1000  # 64 MB: what sockets and buffers on the way may hold, with room
        writer.close()
        await wait_until(lambda: worker.used() == 0, "the slot is free")


async def test_pieces_come_one_by_one() -> None:
    """A piece is there before the next one is made."""
    gate = asyncio.Event()

    @function
    async def gated() -> AsyncIterator[str]:
        yield "one"
        await gate.wait()
        yield "two"

    async with running_worker([gated]) as worker:
        body = json.dumps({"contract": 1, **_stream("gated")}).encode()
        async with worker.session.post(f"{worker.url}/task", headers=AS_CLIENT, data=body) as asked:
            assert await asked.content.readany() == b"one"
            gate.set()
            assert await asked.content.readany() == b"two"
