"""A client that leaves: its task is cancelled, and the slot is free when the code has ended."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.fakes.processes import LB_KEY, Bench
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

AS_CLIENT = {"Authorization": LB_KEY}


async def cancelled_once(bench: Bench) -> None:
    """Wait until the balancer shows one task, and that as cancelled."""

    async def shown() -> bool:
        async with bench.client() as client:
            return [task.status for task in (await client.tasks()).tasks] == ["cancelled"]

    await wait_until(shown, "the task is shown as cancelled")


async def test_a_caller_that_hangs_up_in_mid_call_cancels_its_task(bench: Bench) -> None:
    """The function sees the cancellation, and another caller gets the slot."""
    _, [worker] = await bench.fleet(slots=1)
    call = asyncio.create_task(bench.call("hold", "call"))
    await bench.told("call")
    call.cancel()
    await bench.told("call", "cancelled")
    await cancelled_once(bench)
    assert (await bench.call("note", "next")).status == 200
    await bench.free_again(worker)


async def test_a_reader_that_leaves_in_mid_stream_cancels_its_task(bench: Bench) -> None:
    """Nobody reads a plain stream any more, so nobody pays for it any more."""
    _, [worker] = await bench.fleet(slots=1)
    body = bench.task("drip", "stream", mode="stream")
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{bench.url}/task", json=body, headers=AS_CLIENT)
        assert await answer.content.readline() == b"first\n"
        await bench.told("stream")
        answer.close()
    await bench.told("stream", "cancelled")
    await cancelled_once(bench)
    assert (await bench.call("note", "next")).status == 200
    await bench.free_again(worker)


async def test_an_event_stream_waits_for_its_reader_to_come_back(bench: Bench) -> None:
    """A reader that was cut off goes on after the last event it saw; one that stays away cancels."""
    _, [worker] = await bench.fleet(slots=2, settings={"RESUME_GRACE": "1500"})
    headers = {**AS_CLIENT, "Accept": "text/event-stream"}
    async with aiohttp.ClientSession() as session:
        for name in ("back", "gone"):
            body = bench.task("drip", name, mode="stream")
            answer = await session.post(f"{bench.url}/task", json=body, headers=headers)
            await answer.content.readuntil(b"\n\n")
            await bench.told(name)
            answer.close()
    async with bench.client() as client:
        _, back = [task.task_id for task in (await client.tasks()).tasks]  # newest first
    bench.open_gate("back")
    headers["Last-Event-ID"] = "1"
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{bench.url}/tasks/{back}/stream", headers=headers) as answer,
    ):
        rest = await answer.text()
    assert "last" in rest
    assert "first" not in rest
    assert "event: end" in rest
    await bench.told("gone", "cancelled")
    assert bench.ledger("cancelled", "back") == []
    await bench.free_again(worker)
