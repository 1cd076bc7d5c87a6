"""SIGSTOP: a process that stands still for a while is neither dead nor forgotten."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import cast

import pytest

from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import Bench, Running
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

# Silence is noticed early; how long it may last is each test's own matter.
HEARTBEATS = {"WS_HEARTBEAT_INTERVAL": "100", "WS_HEARTBEAT_TIMEOUT": "300"}
SHORT_STALL = {**HEARTBEATS, "STALL_WINDOW": "1000"}


async def counted(bench: Bench, metric: str) -> float:
    """Return a counter of the balancer."""
    text = (await bench.request("GET", "/metrics")).text
    found = re.search(rf"^{metric} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"no metric {metric}"
    return float(found.group(1))


def of_pid(workers: list[Running], pid: int) -> tuple[Running, Running]:
    """Return the worker of a process id, and the other one."""
    first, second = workers
    return (first, second) if first.pid == pid else (second, first)


async def test_a_frozen_worker_gets_nothing_and_goes_on_when_thawed(bench: Bench) -> None:
    """A silence shorter than STALL_WINDOW loses nothing: others serve, its own call ends well."""
    _, workers = await bench.fleet(2, slots=2, settings=HEARTBEATS)
    call = asyncio.create_task(bench.call("hold", "call"))
    [began] = await bench.told("call")
    frozen, other = of_pid(workers, began.pid)
    await frozen.frozen()
    await bench.shows(frozen, "unreachable")
    notes = [await bench.call("note", f"note-{n}") for n in range(4)]
    served = [cast("dict[str, object]", each.json["result"])["pid"] for each in notes]
    assert served == [other.pid] * 4

    frozen.send(signal.SIGCONT)
    await bench.ready(frozen)
    bench.open_gate("call")
    reply = await call
    assert cast("dict[str, object]", reply.json["result"])["token"] == began.token
    assert len(bench.ledger(name="call")) == 1
    assert await counted(bench, "cabrank_attempts_lost_total") == 0


async def test_a_worker_that_stays_frozen_is_lost_and_its_late_result_refused(
    bench: Bench, hooks: HookReceiver
) -> None:
    """After STALL_WINDOW the task runs elsewhere; what the thawed worker brings then changes nothing."""
    _, workers = await bench.fleet(2, slots=2, settings=SHORT_STALL)
    task_id = await bench.submit("freeze_once", "task", hooks.url())
    lost, retried = await bench.told("task", times=2)
    frozen, other = of_pid(workers, lost.pid)
    assert retried.pid == other.pid
    async with bench.client() as client:
        before = await client.wait(task_id, 20)
        await wait_until(lambda: hooks.received, "the webhook comes")
        assert before.result["token"] == retried.token
        assert [each.outcome for each in before.attempts] == ["lost", "succeeded"]

        frozen.send(signal.SIGCONT)
        assert [each.pid for each in await bench.told("task", "end", times=2)] == [
            other.pid,
            frozen.pid,
        ]

        async def refused() -> bool:
            return await counted(bench, "cabrank_superseded_results_total") == 1

        await wait_until(refused, "the late result is refused")
        await bench.ready(frozen)
        after = await client.status(task_id)
    assert (after.result, after.attempts) == (before.result, before.attempts)
    assert len(hooks.received) == 1


async def test_a_balancer_that_was_frozen_declares_nobody_lost(
    bench: Bench, hooks: HookReceiver
) -> None:
    """It slept, not they: even a window that ran out meanwhile begins again, and everything ends well."""
    balancer, workers = await bench.fleet(2, slots=2, settings=SHORT_STALL)
    held = asyncio.create_task(bench.call("hold", "held"))
    [began] = await bench.told("held")
    silent, other = of_pid(workers, began.pid)
    await silent.frozen()
    await bench.shows(silent, "unreachable")  # its window runs
    given = {"folder": str(bench.folder), "seconds": 1.5}
    call = asyncio.create_task(bench.call("last", "call", input={**given, "name": "call"}))
    task_id = await bench.submit("last", "task", hooks.url(), input={**given, "name": "task"})
    await bench.told("call")
    await bench.told("task")
    await balancer.frozen()
    await bench.told("call", "end")
    await bench.told("task", "end")
    bench.open_gate("held")
    silent.send(signal.SIGCONT)
    balancer.send(signal.SIGCONT)

    assert (await call).status == 200
    assert (await held).status == 200
    async with bench.client() as client:
        assert (await client.wait(task_id, 20)).status == "succeeded"
    assert len(bench.ledger("start")) == 3
    assert await counted(bench, "cabrank_attempts_lost_total") == 0
    await bench.ready(silent, other)
