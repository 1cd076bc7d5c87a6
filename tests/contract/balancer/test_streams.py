"""Contract §2 "Streams", through the balancer: the three forms, errors in them, and taking one up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp
import msgspec
import pytest

from tests.fakes.in_process_balancer import (
    AS_CLIENT,
    JsonObject,
    RunningBalancer,
    running_balancer,
)
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import HeldWork
from tests.fakes.waiting import wait_until
from worker import function

PIECES = ["one ", "two\n", "drei ü\n"]
SSE = {"Accept": "text/event-stream"}
NDJSON = {"Accept": "application/x-ndjson"}


async def test_plain_text_is_the_pieces_verbatim(balancer: RunningBalancer) -> None:
    """Default form: 200, text/plain, chunked, exactly what the function produced, no return value."""
    async with balancer.stream("stream", {"pieces": PIECES}) as reply:
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert reply.headers["Transfer-Encoding"] == "chunked"
        assert await reply.text() == "".join(PIECES)


async def test_sse_numbers_its_events_and_ends_with_the_result(balancer: RunningBalancer) -> None:
    """Server-Sent Events: ids, chunks, the result, the end; the task's id stands in a header."""
    async with balancer.stream("stream", {"pieces": ["a", "b"]}, headers=SSE) as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        task_id = reply.headers["x-task-id"]
        assert await reply.text() == (
            'id: 1\nevent: chunk\ndata: "a"\n\n'
            'id: 2\nevent: chunk\ndata: "b"\n\n'
            "id: 3\nevent: result\ndata: 2\n\n"
            f'id: 4\nevent: end\ndata: {{"task_id":"{task_id}","status":"succeeded"}}\n\n'
        )


async def test_ndjson_tells_an_error_in_band(balancer: RunningBalancer) -> None:
    """NDJSON: the same objects one a line; after a piece an error is one of them."""
    async with balancer.stream("stream_fail", {"pieces": ["a"]}, headers=NDJSON) as reply:
        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/x-ndjson")
        lines = (await reply.read()).splitlines()
    events = [cast("JsonObject", msgspec.json.decode(line)) for line in lines]
    assert [event["event"] for event in events] == ["chunk", "error", "end"]
    assert events[1]["data"] == {
        "error": "mid",
        "code": "function_error",
        "error_type": "ValueError",
    }


async def test_an_error_after_the_first_piece_breaks_plain_text(balancer: RunningBalancer) -> None:
    """The client sees a broken transfer after the pieces, not a short success."""
    async with balancer.stream("stream_fail", {"pieces": ["a"]}) as reply:
        assert reply.status == 200
        assert await reply.content.readexactly(1) == b"a"
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_a_stream_without_pieces_is_an_empty_success(balancer: RunningBalancer) -> None:
    """A function that streams nothing gives 200 and no byte."""
    async with balancer.stream("stream", {"pieces": []}) as reply:
        assert (reply.status, await reply.read()) == (200, b"")


async def test_bad_parameters_are_a_status_before_the_stream(balancer: RunningBalancer) -> None:
    """What the worker refuses is a status and a JSON body, as for a call."""
    reply = await balancer.task("stream", {"pieces": 5}, mode="stream")
    assert (reply.status, reply.code) == (400, "invalid_params")


async def test_an_ended_stream_can_be_read_again_from_an_event_on(
    balancer: RunningBalancer,
) -> None:
    """`GET /tasks/{id}/stream` with Last-Event-ID sends what came after it, while it is kept."""
    async with balancer.stream("stream", {"pieces": ["a", "b"]}, headers=SSE) as reply:
        task_id = reply.headers["x-task-id"]
        whole = await reply.text()
    again = await balancer.ask(
        "GET", f"/tasks/{task_id}/stream", headers={**AS_CLIENT, "Last-Event-ID": "1"}
    )
    assert (again.status, again.body.decode()) == (200, whole[whole.index("id: 2") :])


async def test_a_reader_that_comes_back_in_time_misses_nothing(tmp_path: Path) -> None:
    """An SSE reader that leaves has RESUME_GRACE to come back; the task goes on meanwhile."""
    work = HeldWork()
    async with (
        running_worker(*work.functions()) as worker,
        running_balancer(tmp_path, worker.url, resume_grace=10_000) as balancer,
    ):
        async with balancer.stream("hold_stream", {"label": "x"}, headers=SSE) as reply:
            task_id = reply.headers["x-task-id"]
            assert (await reply.content.readuntil(b"\n\n")).endswith(b'data: "x\\n"\n\n')
            reply.close()
        work.let_go()
        again = await balancer.ask(
            "GET", f"/tasks/{task_id}/stream", headers={**AS_CLIENT, "Last-Event-ID": "1"}
        )
        assert b'event: result\ndata: "x"' in again.body
        assert work.cancelled == []


async def test_a_reader_that_stays_away_ends_the_task(tmp_path: Path) -> None:
    """After RESUME_GRACE without a reader the task is cancelled, and its slot is free again."""
    work = HeldWork()
    async with (
        running_worker(*work.functions()) as worker,
        running_balancer(tmp_path, worker.url, resume_grace=50) as balancer,
    ):
        async with balancer.stream("hold_stream", {"label": "x"}, headers=SSE) as reply:
            await reply.content.readuntil(b"\n\n")
            reply.close()
        await wait_until(lambda: work.cancelled == ["x"], "its code has ended")


async def test_a_slow_reader_slows_the_function_down(tmp_path: Path) -> None:
    """A function that streams far more than the buffers hold waits for its reader, and loses nothing."""
    size, count = 64 * 1024, 400
    produced = 0

    @function
    async def pour() -> AsyncIterator[str]:
        """Streams 25 MiB."""
        nonlocal produced
        for _ in range(count):
            produced += 1
            yield "x" * size

    async with (
        running_worker(pour) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
        balancer.stream("pour") as reply,
    ):
        seen = 0

        def has_stopped() -> bool:
            nonlocal seen
            before, seen = seen, produced
            return 0 < before == produced

        await wait_until(has_stopped, "the function waits", interval_s=0.1)
        assert produced < count / 2
        total = 0
        async for data in reply.content.iter_any():
            total += len(data)
        assert total == size * count


async def test_two_streams_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """A stream whose reader takes nothing does not hold up another on the same link."""

    @function
    async def pour(pieces: int) -> AsyncIterator[str]:
        """Streams."""
        for _ in range(pieces):
            yield "x" * 64 * 1024

    async with (
        running_worker(pour) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
        balancer.stream("pour", {"pieces": 1000}) as stalled,
    ):
        assert stalled.status == 200
        async with asyncio.timeout(10), balancer.stream("pour", {"pieces": 50}) as other:
            assert len(await other.read()) == 50 * 64 * 1024
        stalled.close()
