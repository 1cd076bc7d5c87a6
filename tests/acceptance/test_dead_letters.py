"""Dead letters of real processes: mended, killed and started again in between, by HTTP and by command."""

from __future__ import annotations

import json
from typing import cast

import pytest

from cabrank import NotFound
from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import Bench, Running, cabrank
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

IMPATIENT = {"WEBHOOK_MAX_RETRIES": "0"}


async def ran(bench: Bench, *arguments: str, code: int = 0) -> str:
    """Run a command against the balancer; return what it said."""
    name = f"command-{len(arguments)}-{abs(hash(arguments))}"
    command = bench.start(name, cabrank(*arguments), {"CABRANK_URL": bench.url})
    assert await command.ended() == code, command.text()
    return command.text()


async def restarted(bench: Bench, balancer: Running, *workers: Running) -> Running:
    """Kill the balancer and start it again at its port."""
    balancer.kill()
    again = bench.start_balancer(port=balancer.port, settings=IMPATIENT)
    await again.listening()
    await bench.ready(*workers)
    return again


async def test_what_failed_is_replayed_once_it_is_mended(bench: Bench, hooks: HookReceiver) -> None:
    """Task and webhook outlive two deaths of the balancer; each replay happens once, and is not lost."""
    hooks.script = [500]
    balancer, workers = await bench.fleet(settings=IMPATIENT)
    failing = await bench.submit("fail_until", "a", hooks.url("/a"))
    async with bench.client() as client:
        await bench.finished(client, failing)

        async def both_dead() -> bool:
            return (await client.dead_letters()).counts == {
                "task": 1,
                "webhook": 1,
                "quarantine": 0,
            }

        await wait_until(both_dead, "the task has failed and its webhook, too")
    balancer = await restarted(bench, balancer, *workers)
    letters = cast(
        "list[dict[str, object]]", json.loads(await ran(bench, "dead", "list", "--json"))
    )
    assert [(each["id"], each["kind"]) for each in letters] == [
        (f"msg_{failing}", "webhook"), (failing, "task"),
    ]  # fmt: skip

    bench.open_gate("a")
    told = json.loads(await ran(bench, "dead", "replay", failing, "--json"))
    balancer = await restarted(bench, balancer, *workers)
    async with bench.client() as client:
        again = await client.wait(told["task_id"], 20)
        assert (again.status, again.replay_of, again.value()["name"]) == ("succeeded", failing, "a")
        with pytest.raises(NotFound):
            await client.replay(failing)
        assert (await client.replay(f"msg_{failing}")).webhook_id == f"msg_{failing}"
        await wait_until(lambda: len(hooks.received) == 3, "both webhooks come")
        assert (await client.dead_letters()).dead == ()
    assert sorted(each.headers["webhook-id"] for each in hooks.received) == sorted(
        [f"msg_{failing}", f"msg_{failing}", f"msg_{again.task_id}"]
    )
    assert len(bench.ledger(name="a")) == 2


async def test_a_task_that_kills_its_workers_is_quarantined_until_it_is_released(
    bench: Bench, hooks: HookReceiver
) -> None:
    """Three deaths, and it is set aside; it stays so over a restart, and goes on when it is released."""

    def told() -> list[str]:
        return [each.headers["webhook-id"] for each in hooks.received]

    balancer, [worker] = await bench.fleet(slots=1)
    task_id = await bench.submit("die_until", "k", hooks.url("/k"))
    for deaths in (1, 2, 3):
        await bench.told("k", times=deaths)
        await worker.ended()
        worker = bench.start_worker(f"successor-{deaths}", slots=1, port=worker.port)
        await worker.listening()
    async with bench.client() as client:
        await bench.finished(client, task_id)
    balancer = await restarted(bench, balancer, worker)
    shown = json.loads(await ran(bench, "tasks", "list", "--status", "quarantined", "--json"))
    assert [each["task_id"] for each in shown] == [task_id]
    assert "(task_not_found)" in await ran(bench, "tasks", "release", "nobody", code=1)

    bench.open_gate("k")
    assert await ran(bench, "tasks", "release", task_id) == f"Task {task_id} is released\n"
    async with bench.client() as client:
        task = await client.wait(task_id, 20)
    assert (task.status, len(task.attempts)) == ("succeeded", 4)
    ended = f"msg_{task_id}"
    await wait_until(lambda: ended in told(), "the end is told")
    assert [*dict.fromkeys(told())] == [f"msg_q3_{task_id}", ended]  # each at least once
    assert len(bench.ledger(name="k")) == 4
