"""The end of a lane: idle connections close, calls under way are answered, then cut."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import AsyncExitStack

import pytest

from shared.edge import limits
from tests.fakes.waiting import wait_until
from tests.unit.shared.edge.fast_lane.bed import request, running_lane

MANY = 300


async def test_idle_connections_close_at_once() -> None:
    """Those that were used, those that were not, and those in the middle of a request."""
    async with running_lane() as bed, bed.peer() as used, bed.peer() as fresh, bed.peer() as half:
        await used.ask(request("now"))
        await half.send(request("now")[:50])
        await wait_until(lambda: len(bed.lane.connections) == 3, "all are there")
        async with asyncio.timeout(5):
            await bed.lane.close(60.0)
        for peer in (used, fresh, half):
            assert await peer.rest() == b""
        assert not bed.lane.connections


async def test_a_call_under_way_is_answered_then_closed() -> None:
    """Its answer says that it is the last one; what is pipelined behind it is not begun."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("hold", "last") + request("now"))
        await wait_until(lambda: bed.desk.held, "the call is held")
        closing = asyncio.create_task(bed.lane.close(5.0))
        await wait_until(lambda: bed.lane.closing, "it closes")
        bed.desk.let_go()
        answer = await peer.answer()
        assert (answer.json["result"], answer.headers["connection"]) == ("last", "close")
        assert await peer.rest() == b""
        await closing
        assert len(bed.desk.taken) == 1


@pytest.mark.parametrize("do", ["hold", "wait"])
async def test_a_call_that_takes_too_long_is_cut(do: str) -> None:
    """Past the grace the connection is cut, and its task cancelled."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request(do))
        await wait_until(lambda: bed.desk.taken, "it was taken")
        await bed.lane.close(0.0)
        assert await peer.rest() == b""
        assert not bed.lane.connections
        await wait_until(lambda: bed.desk.left_ids or bed.desk.cancelled, "it was cancelled")


async def test_nobody_is_accepted_any_more() -> None:
    """The port is closed."""
    async with running_lane() as bed:
        await bed.lane.close()
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection("127.0.0.1", bed.port)


async def test_one_that_was_handed_over_is_not_ours_to_close() -> None:
    """It belongs to the other shell, which ends it in its own way."""
    async with running_lane() as bed, bed.peer() as peer:
        health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        await peer.ask(health)
        await bed.lane.close()
        assert (await peer.ask(health)).body == b"ready"


async def test_many_idle_connections_are_closed_in_time() -> None:
    """However many there are, one sweep finds them all."""
    async with running_lane() as bed, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(bed.peer()) for _ in range(200)]
        for peer in peers:
            assert (await peer.ask(request("now"))).status == 200
        assert len(bed.lane.connections) == 200
        bed.pass_time(limits.KEEP_ALIVE_S + 2)
        assert {await peer.rest() for peer in peers} == {b""}
        await wait_until(lambda: not bed.lane.connections, "all are forgotten")


async def test_idle_connections_cost_little() -> None:
    """Thousands may be open: each takes a few hundred bytes beside its transport."""
    async with running_lane() as bed:
        gc.collect()
        tracemalloc.start()
        try:
            connections = [bed.lane() for _ in range(MANY)]
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size / len(connections) < 512
