"""kill -9 of a worker, in mid-task."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import Bench
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

RESUME_WINDOW_S = 0.5  # as the bench sets it
SLACK_S = 3.0  # what a busy machine may add


async def test_a_call_whose_worker_is_killed_gets_502_once_the_resume_window_is_over(
    bench: Bench,
) -> None:
    """A plain function is not run again: its caller gets 502 worker_lost, and the window is its wait."""
    _, [worker] = await bench.fleet()
    call = asyncio.create_task(bench.call("hold", "job"))
    await bench.told("job")
    loop = asyncio.get_running_loop()
    worker.kill()
    killed_s = loop.time()
    reply = await call
    took_s = loop.time() - killed_s
    assert (reply.status, reply.json["code"]) == (502, "worker_lost")
    assert RESUME_WINDOW_S * 0.9 <= took_s <= RESUME_WINDOW_S + SLACK_S
    assert len(bench.ledger()) == 1


async def test_what_may_run_twice_goes_on_on_another_worker(
    bench: Bench, hooks: HookReceiver
) -> None:
    """An idempotent call and a durable task of a killed worker are run elsewhere; one webhook comes."""
    _, [killed] = await bench.fleet()
    call = asyncio.create_task(bench.call("hold_idempotent", "call"))
    task_id = await bench.submit("hold", "durable", hooks.url())
    await bench.told("call")
    await bench.told("durable")
    other = bench.start_worker("other")
    await other.listening()
    bench.list(killed, other)
    await bench.ready(other)

    killed.kill()
    assert (await bench.told("call", times=2))[1].pid == other.pid
    assert (await bench.told("durable", times=2))[1].pid == other.pid
    bench.open_gate("call", "durable")

    reply = await call
    assert reply.status == 200
    async with bench.client() as client:
        task = await client.wait(task_id, 20)
    assert task.status == "succeeded"
    assert [attempt.outcome for attempt in task.attempts] == ["lost", "succeeded"]
    await wait_until(lambda: hooks.received, "the webhook comes")
    assert len(hooks.received) == 1
    assert task.result == {"name": "durable", "pid": other.pid, "token": task.result["token"]}
