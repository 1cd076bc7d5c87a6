"""Contract §2 "Streams", through the balancer: the three forms, errors in them, and taking one up again."""

from __future__ import annotations

import asyncio
from typing import cast

import aiohttp
import msgspec
import pytest

from tests.fakes.in_process_balancer import AS_CLIENT, JsonObject, RunningBalancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import HeldWork
from tests.fakes.waiting import wait_until

PIECES = ["one ", "two\n", "drei ü\n"]


async def test_plain_text_is_the_pieces_verbatim(balancer: RunningBalancer) -> None:
    """Default form: 200, text/plain, chunked, exactly what the function produced, no return value."""
    async with balancer.stream("stream", {"pieces": PIECES}) as reply:
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert reply.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Encoding" not in reply.headers
        assert await reply.text() == "".join(PIECES)


async def test_sse_numbers_its_events_and_ends_with_the_result(balancer: RunningBalancer) -> None:
    """Server-Sent Events: id, chunk, result, end, and the task's id in the header."""
    async with balancer.stream("stream", {"pieces": ["a", "b"]}, headers={"Accept": "text/event-stream"}) as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        task_id = reply.headers["x-task-id"]
        assert await reply.text() == (
            'id: 1\nevent: chunk\ndata: "a"\n\n'
            'id: 2\nevent: chunk\ndata: "b"\n\n'
            "id: 3\nevent: result\ndata: 2\n\n"
            f'id: 4\nevent: end\ndata: {{"task_id":"{task_id}","status":"succeeded"}}\n\n'
        )


async def test_ndjson_has_the_same_events_one_a_line(balancer: RunningBalancer) -> None:
    """NDJSON: the same objects, and an error in band."""
    async with balancer.stream("stream_fail", {"pieces": ["a"]}, headers={"Accept": "application/x-ndjson"}) as reply:
        assert reply.status == 200
        lines = [cast("JsonObject", msgspec.json.decode(line)) for line in await reply.read() and (await reply.read()).splitlines()]
    assert [line["event"] for line in lines] == ["chunk", "error", "end"]
    assert lines[1]["data"] == {"error": "mid", "code": "function_error", "error_type": "ValueError"}


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


async def test_parameters_of_a_stream_are_refused_before_it_begins(balancer: RunningBalancer) -> None:
    """What the worker refuses is a status and a JSON body, as for a call."""
    reply = await balancer.task("stream", {"pieces": 5}, mode="stream")
    assert (reply.status, reply.code) == (400, "invalid_params")


async def test_a_stream_is_taken_up_again_where_it_was_left(tmp_path: object, balancer: RunningBalancer) -> None:
    """`GET /tasks/{id}/stream` with Last-Event-ID sends what came after it, once more."""
    del tmp_path
    async with balancer.stream("stream", {"pieces": ["a", "b", "c"]}, headers={"Accept": "text/event-stream"}) as reply:
        task_id = reply.headers["x-task-id"]
        whole = await reply.text()
    again = await balancer.ask("GET", f"/tasks/{task_id}/stream", headers={**AS_CLIENT, "Last-Event-ID": "2"})
    assert again.status == 200
    assert again.body.decode() == whole[whole.index("id: 3"):]


async def test_a_reader_that_comes_back_in_time_misses_nothing(tmp_path: object) -> None:
    """An SSE reader that leaves has RESUME_GRACE to come back; the task goes on meanwhile."""
    del tmp_path


async def test_large_streams_arrive_whole_under_flow_control(balancer: RunningBalancer) -> None:
    """Many times the credit of a stream passes, in order, to a reader that takes its time."""
    piece = "x" * 10_000
    pieces = [f"{n:04d}{piece}" for n in range(1)]
    del pieces
    async with balancer.stream("stream", {"pieces": ["y" * 500] * 30}) as reply:
        assert len(await reply.read()) == 15_000
