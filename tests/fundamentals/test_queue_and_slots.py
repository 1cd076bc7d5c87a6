"""Chapter 3: slots, the queue, and what happens when things go wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cabrank import Client, Context, FunctionError, QueueFull, QueueTimeout, function
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.small_fleet import small_fleet
from tests.fakes.task_functions import HeldWork
from tests.fakes.waiting import wait_until


async def queued(client: Client, count: int) -> None:
    """Wait until so many tasks wait for a slot."""

    async def wait() -> bool:
        return len((await client.tasks(status="queued")).tasks) == count

    await wait_until(wait, f"{count} tasks wait")


async def test_a_slot_runs_one_task_at_a_time(tmp_path: Path) -> None:
    """A worker of two slots runs two tasks; the third waits at the balancer, not at the worker."""
    work = HeldWork()
    async with small_fleet(tmp_path, *work.functions(), slots=2) as client:
        calls = [asyncio.create_task(client.call("hold", label=label)) for label in ("a", "b", "c")]
        await queued(client, 1)
        assert sorted(work.begun) == ["a", "b"]

        async def told() -> tuple[int, int, int] | None:
            [worker] = await client.workers()
            slots = worker.slots
            return None if slots is None else (slots.used, slots.available, slots.queue)

        async def both_taken() -> bool:
            return await told() == (2, 0, 0)

        await wait_until(both_taken, "the worker has told of its slots")
        work.let_go()
        assert sorted(await asyncio.gather(*calls)) == ["a", "b", "c"]


async def test_the_queue_is_strict_priority_then_first_come_first_served(tmp_path: Path) -> None:
    """Priority 1 is first; among equals, whoever was accepted first."""
    work = HeldWork()
    async with small_fleet(tmp_path, *work.functions(), slots=1) as client:
        calls = [asyncio.create_task(client.call("hold", label="running"))]
        await wait_until(lambda: work.running == 1, "the slot is taken")
        for n, (label, priority) in enumerate([("b", 5), ("c", 5), ("a", 1)], start=1):
            calls.append(asyncio.create_task(client.call("hold", label=label, priority=priority)))
            await queued(client, n)
        work.let_go()
        await asyncio.gather(*calls)
    assert work.begun == ["running", "a", "b", "c"]


async def test_nobody_waits_for_a_slot_for_ever(tmp_path: Path) -> None:
    """A call that gets no slot by its deadline ends with `queue_timeout`."""
    work = HeldWork()
    async with small_fleet(tmp_path, *work.functions(), slots=1) as client:
        first = asyncio.create_task(client.call("hold", label="first"))
        await wait_until(lambda: work.running == 1, "the slot is taken")
        with pytest.raises(QueueTimeout):
            await client.call("hold", label="second", deadline_s=0.1)
        work.let_go()
        assert await first == "first"
    assert work.begun == ["first"]


async def test_every_queue_is_bounded(tmp_path: Path) -> None:
    """Past MAX_QUEUE a call is refused at once, and told when to come again."""
    work = HeldWork()
    async with small_fleet(tmp_path, *work.functions(), slots=1, max_queue=1) as client:
        calls = [asyncio.create_task(client.call("hold", label="running"))]
        await wait_until(lambda: work.running == 1, "the slot is taken")
        calls.append(asyncio.create_task(client.call("hold", label="waiting")))
        await queued(client, 1)
        with pytest.raises(QueueFull) as raised:
            await client.call("hold", label="too many")
        assert (raised.value.failure.retry_after_s or 0) > 0
        work.let_go()
        assert await asyncio.gather(*calls) == ["running", "waiting"]


async def test_whoever_leaves_takes_the_task_along(tmp_path: Path) -> None:
    """A caller that hangs up cancels its task; the slot is free when its code has ended."""
    work = HeldWork()
    async with small_fleet(tmp_path, *work.functions(), slots=1) as client:
        call = asyncio.create_task(client.call("hold", label="left"))
        await wait_until(lambda: work.running == 1, "the slot is taken")
        call.cancel()
        await wait_until(lambda: work.cancelled == ["left"], "the function is told")
        work.let_go()
        assert await client.call("hold", label="next") == "next"


@function(max_retries=2, retry_delay_s=0.01)
async def third_time_lucky(*, ctx: Context) -> int:
    """Fail twice."""
    if ctx.attempt < 3:
        raise RuntimeError("not yet")
    return ctx.attempt


async def test_a_function_says_how_often_it_is_tried_again(tmp_path: Path) -> None:
    """`max_retries` attempts follow a failure, with growing pauses; a task may ask for fewer."""
    async with small_fleet(tmp_path, third_time_lucky) as client:
        assert await client.call("third_time_lucky") == 3
        with pytest.raises(FunctionError, match="not yet"):
            await client.call("third_time_lucky", max_attempts=2)


async def test_a_worker_is_drained_and_brought_back(tmp_path: Path) -> None:
    """In maintenance it finishes what it runs and gets nothing new; the queue waits, or goes elsewhere."""
    work = HeldWork()
    async with (
        running_worker(*work.functions()) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
        Client(balancer.url, key=LB_KEY) as client,
    ):
        running = asyncio.create_task(client.call("hold", label="running"))
        await wait_until(lambda: work.running == 1, "it runs")
        [shown] = await client.workers()
        await balancer.ask("POST", f"/workers/{shown.id}/off")
        await wait_until(lambda: worker.engine.slots().maintenance, "the order has arrived")
        waiting = asyncio.create_task(client.call("hold", label="waiting"))
        await queued(client, 1)
        work.let_go()
        assert await running == "running"
        assert work.begun == ["running"]
        await balancer.ask("POST", f"/workers/{shown.id}/on")
        assert await waiting == "waiting"
