"""A client that leaves: its task is cancelled, and the slot is free when the code has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest

from tests.fakes.processes import LB_KEY, Bench
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

AS_CLIENT = {"Authorization": LB_KEY}
AS_EVENTS = {**AS_CLIENT, "Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Run one fleet of one slot for all that leave here: each leaves it as it was."""
    bench = Bench(tmp_path_factory.mktemp("leaving"))
    try:
        asyncio.run(bench.fleet(slots=1, settings={"RESUME_GRACE": "1000"}))
        yield bench
    finally:
        bench.close()
        print(bench.logs())  # shown when a test failed


async def newest_status(bench: Bench) -> str:
    """Return the status of the task that was submitted last."""
    async with bench.client() as client:
        return (await client.tasks(limit=1)).tasks[0].status


async def cancelled(bench: Bench, name: str) -> None:
    """Wait until the function has seen its cancellation, and another caller gets the slot."""
    await bench.told(name, "cancelled")

    async def shown() -> bool:
        return await newest_status(bench) == "cancelled"

    await wait_until(shown, "the task is shown as cancelled")
    assert (await bench.call("note", f"after-{name}")).status == 200
    assert bench.ledger("end", name) == []


async def test_a_caller_that_hangs_up_in_mid_call_cancels_its_task(bench: Bench) -> None:
    """The function sees the cancellation, and another caller gets the slot."""
    call = asyncio.create_task(bench.call("hold", "call"))
    await bench.told("call")
    call.cancel()
    await cancelled(bench, "call")


async def test_a_reader_that_leaves_in_mid_stream_cancels_its_task(bench: Bench) -> None:
    """Nobody reads a plain stream any more, so nobody pays for it any more."""
    body = bench.task("drip", "stream", mode="stream")
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{bench.url}/task", json=body, headers=AS_CLIENT)
        assert await answer.content.readline() == b"first\n"
        await bench.told("stream")
        answer.close()
    await cancelled(bench, "stream")


async def break_off(bench: Bench, name: str) -> str:
    """Read the first event of a stream, lose the connection, and return the task's id."""
    body = bench.task("drip", name, mode="stream")
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{bench.url}/task", json=body, headers=AS_EVENTS)
        assert b"first" in await answer.content.readuntil(b"\n\n")
        await bench.told(name)
        answer.close()
    async with bench.client() as client:
        [task] = (await client.tasks(limit=1)).tasks
    assert task.status == "running"
    return task.task_id


async def test_an_event_stream_waits_for_its_reader_to_come_back(bench: Bench) -> None:
    """Whoever was cut off goes on after the last event that came, and misses nothing."""
    task_id = await break_off(bench, "back")
    bench.open_gate("back")
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{bench.url}/tasks/{task_id}/stream", headers={**AS_EVENTS, "Last-Event-ID": "1"}
        ) as answer,
    ):
        rest = await answer.text()
    assert "last" in rest
    assert "first" not in rest
    assert "event: end" in rest
    assert bench.ledger("cancelled", "back") == []


async def test_an_event_stream_whose_reader_stays_away_is_cancelled(bench: Bench) -> None:
    """RESUME_GRACE is how long it waits."""
    await break_off(bench, "gone")
    await cancelled(bench, "gone")
