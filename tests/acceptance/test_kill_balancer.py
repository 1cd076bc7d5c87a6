"""kill -9 of the balancer, alone and together with a worker: what was accepted is not lost."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from aiohttp import ClientError, web

from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import Bench
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

PATIENT = {"WEBHOOK_RETRY_DELAY": "100", "WEBHOOK_MAX_RETRIES": "100"}


def ids_by_path(hooks: HookReceiver) -> dict[str, set[str]]:
    """Return the webhook ids that came for each task."""
    found: dict[str, set[str]] = defaultdict(set)
    for received in hooks.received:
        found[received.path].add(received.headers["webhook-id"])
    return found


async def refuse(_: web.Request) -> web.StreamResponse:
    """Answer a webhook as a receiver does that is out of order."""
    return web.Response(status=503)


async def submit_all(
    bench: Bench, function: str, names: list[str], hooks: HookReceiver
) -> list[str]:
    """Hand a durable task over for every name; each has a webhook path of its own."""
    submitted = (bench.submit(function, name, hooks.url(f"/{name}")) for name in names)
    return list(await asyncio.gather(*submitted))


async def test_a_hundred_accepted_tasks_survive_the_death_of_the_balancer(
    bench: Bench, hooks: HookReceiver
) -> None:
    """Done, running, ended meanwhile or queued: each ends once, runs once, and is told of by one id."""
    balancer, workers = await bench.fleet(2, slots=5, settings=PATIENT)
    hooks.custom = refuse
    done = [f"done-{n}" for n in range(5)]
    held = [f"held-{n}" for n in range(95)]
    ids = await submit_all(bench, "note", done, hooks)
    await wait_until(lambda: len(ids_by_path(hooks)) == 5, "five webhooks were refused")
    ids += await submit_all(bench, "hold", held, hooks)
    await wait_until(lambda: len(bench.ledger()) == 15, "every slot is taken")
    running = [each.name for each in bench.ledger() if each.name in held]

    balancer.kill()
    hooks.custom = None
    bench.open_gate(*running[:3])
    for name in running[:3]:
        await bench.told(name, "end")
    again = bench.start_balancer(port=balancer.port, settings=PATIENT)
    await again.listening()
    await bench.ready(*workers)
    async with bench.client() as client:
        # Their slots go to three of the queue; the other seven are the ones from before.
        await wait_until(lambda: len(bench.ledger()) == 18, "three more run")
        page = await client.tasks(status="running", limit=200)
        assert len(page.tasks) == 10
        bench.open_gate(*held)
        await bench.finished(client, *ids)
        ended = (await client.tasks(limit=200)).tasks

    assert {task.task_id: task.status for task in ended} == dict.fromkeys(ids, "succeeded")
    assert sorted(each.name for each in bench.ledger()) == sorted(done + held)
    tokens = {each.name: each.token for each in bench.ledger()}
    await wait_until(lambda: len(ids_by_path(hooks)) == 100, "every webhook has come")
    assert all(len(each) == 1 for each in ids_by_path(hooks).values())
    assert len({each.headers["webhook-id"] for each in hooks.received}) == 100
    async with bench.client() as client:
        adopted = await client.status(ids[5 + held.index(running[5])])
    assert adopted.result["token"] == tokens[running[5]]


async def test_killed_together_with_its_worker_a_balancer_runs_again_what_had_no_end(
    bench: Bench, hooks: HookReceiver
) -> None:
    """Nobody is left to be asked: what ran runs again, what waited runs once, and all of it ends."""
    balancer, [worker] = await bench.fleet(slots=2)
    ids = await submit_all(bench, "hold", ["a", "b"], hooks)
    await bench.told("a")
    await bench.told("b")
    ids += await submit_all(bench, "hold", ["c", "d"], hooks)

    balancer.kill()
    worker.kill()
    reborn = bench.start_worker("reborn", slots=2, port=worker.port)
    again = bench.start_balancer(port=balancer.port)
    await reborn.listening()
    await again.listening()
    bench.open_gate("a", "b", "c", "d")
    async with bench.client() as client:
        await bench.finished(client, *ids)
        statuses = [(await client.status(each)).status for each in ids]

    assert statuses == ["succeeded"] * 4
    assert [len(bench.ledger(name=name)) for name in "abcd"] == [2, 2, 1, 1]
    await wait_until(lambda: len(ids_by_path(hooks)) == 4, "four webhooks come")
    assert all(len(each) == 1 for each in ids_by_path(hooks).values())


async def test_calls_of_a_killed_balancer_end_on_the_workers_too(bench: Bench) -> None:
    """A call's connection breaks with its balancer; after the resume window its worker gives it up."""
    balancer, [worker] = await bench.fleet()
    call = asyncio.create_task(bench.call("hold", "call"))
    await bench.told("call")
    balancer.kill()
    with pytest.raises(ClientError):
        await call
    await bench.told("call", "cancelled")
    await bench.free_again(worker)
