"""SIGTERM: a process finishes what it runs and ends with 0; the second signal ends it at once."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import Bench
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance


async def test_a_worker_that_is_told_to_stop_finishes_its_call_first(bench: Bench) -> None:
    """It gets nothing new, answers what it runs, and leaves with 0."""
    _, [worker] = await bench.fleet()
    call = asyncio.create_task(bench.call("hold", "call"))
    await bench.told("call")
    worker.send(signal.SIGTERM)
    await bench.shows(worker, "maintenance")
    later = asyncio.create_task(bench.call("note", "later", deadline_s=0.3))
    assert (await later).status == 504
    bench.open_gate("call")
    assert (await call).status == 200
    assert await worker.ended() == 0
    assert [each.name for each in bench.ledger()] == ["call"]


async def test_a_balancer_that_is_told_to_stop_answers_its_callers_first(
    bench: Bench, hooks: HookReceiver
) -> None:
    """New calls are refused with 503, the old ones answered; what is durable goes on without it."""
    balancer, _ = await bench.fleet()
    task_id = await bench.submit("hold", "task", hooks.url())
    await bench.told("task")
    call = asyncio.create_task(bench.call("hold", "call"))
    await bench.told("call")
    balancer.send(signal.SIGTERM)

    async def refuses() -> bool:
        reply = await bench.call("note", "later")
        return (reply.status, reply.json.get("code")) == (503, "shutting_down")

    await wait_until(refuses, "new calls are refused")
    bench.open_gate("call")
    assert (await call).status == 200
    assert await balancer.ended() == 0

    bench.open_gate("task")
    await bench.told("task", "end")
    await bench.start_balancer(port=balancer.port).listening()
    async with bench.client() as client:
        assert (await client.wait(task_id, 20)).status == "succeeded"
    assert [len(bench.ledger(name=name)) for name in ("call", "task")] == [1, 1]


async def test_what_does_not_end_in_its_grace_is_left_behind_and_run_again(
    bench: Bench, hooks: HookReceiver
) -> None:
    """TERMINATION_GRACE over, both leave with 0; the durable task runs again and spends no attempt."""
    balancer, [worker] = await bench.fleet(settings={"TERMINATION_GRACE": "200"})
    task_id = await bench.submit("hold", "long", hooks.url())
    await bench.told("long")

    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert len(bench.ledger("cancelled")) == 1
    balancer.send(signal.SIGTERM)
    assert await balancer.ended() == 0

    bench.open_gate("long")
    reborn = bench.start_worker("reborn", port=worker.port)
    again = bench.start_balancer(port=balancer.port)
    await reborn.listening()
    await again.listening()
    async with bench.client() as client:
        task = await client.wait(task_id, 20)
    assert task.status == "succeeded"
    assert len(bench.ledger()) == 2


async def test_a_second_signal_ends_a_process_at_once(bench: Bench) -> None:
    """An operator who is in a hurry says so twice; what ran is not waited for."""
    balancer, [worker] = await bench.fleet()
    call = asyncio.create_task(bench.call("hold", "call"))
    await bench.told("call")
    for process in (worker, balancer):
        process.send(signal.SIGTERM)
        await wait_until(
            lambda process=process: "process.stopping" in process.text(), "the first is heard"
        )
        process.send(signal.SIGTERM)
        assert await process.ended(5) == 130
    await asyncio.gather(call, return_exceptions=True)
