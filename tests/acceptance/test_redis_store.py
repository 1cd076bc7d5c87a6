"""A balancer on Redis: kill -9 of either, and nothing that was accepted is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.ids import TaskId
from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import Bench
from tests.fakes.redis_audit import RedisAudit
from tests.fakes.redis_server import RedisProcess
from tests.fakes.waiting import wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.redis, pytest.mark.timeout(60)]

SECRET = "s3cret-of-the-store"
PATIENT = {"WEBHOOK_RETRY_DELAY": "100", "WEBHOOK_MAX_RETRIES": "100"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    """Return a Redis that keeps what it has said yes to."""
    folder = tmp_path / "redis"
    folder.mkdir()
    process = RedisProcess(
        folder, "--appendonly", "yes", "--appendfsync", "always", "--requirepass", SECRET
    )
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def on_redis(bench: Bench, server: RedisProcess) -> AsyncIterator[Bench]:
    """Return a bench whose balancers use it; at the end no process has shown the password."""
    url = f"redis://:{SECRET}@127.0.0.1:{server.port}/0"
    bench.store = url
    yield bench
    assert SECRET not in bench.logs()
    audit = RedisAudit([url], "cabrank")
    audit.check()
    audit.remove()


async def submitted(
    bench: Bench, function: str, names: list[str], hooks: HookReceiver
) -> list[str]:
    """Hand durable tasks over, each with a webhook path of its own."""
    return [await bench.submit(function, name, hooks.url(f"/{name}")) for name in names]


async def test_accepted_tasks_survive_the_death_of_the_balancer(
    on_redis: Bench, hooks: HookReceiver
) -> None:
    """Running or queued: each ends once, runs once and is told of, by a balancer started anew."""
    bench = on_redis
    balancer, workers = await bench.fleet(2, slots=2, settings=PATIENT)
    names = [f"held-{n}" for n in range(20)]
    ids = await submitted(bench, "hold", names, hooks)
    await wait_until(lambda: len(bench.ledger()) == 4, "every slot is taken")

    balancer.kill()
    bench.open_gate(*names[:2])
    again = bench.start_balancer(port=balancer.port, settings=PATIENT)
    await again.listening()
    await bench.ready(*workers)
    bench.open_gate(*names)
    async with bench.client() as client:
        await bench.finished(client, *ids)
        ended = {task.task_id: task.status for task in (await client.tasks(limit=100)).tasks}
    assert ended == dict.fromkeys(ids, "succeeded")
    assert sorted(each.name for each in bench.ledger()) == sorted(names)
    await wait_until(lambda: len({each.path for each in hooks.received}) == 20, "all are told of")
    assert len({each.headers["webhook-id"] for each in hooks.received}) == 20


async def test_accepted_tasks_survive_the_death_of_redis(
    on_redis: Bench, hooks: HookReceiver, server: RedisProcess
) -> None:
    """While it is away calls go on and submits get 503; with its return work goes on by itself."""
    bench = on_redis
    await bench.fleet(slots=3, settings={**PATIENT, "LOG_LEVEL": "debug"})
    names = ["held-0", "held-1"]
    ids = await submitted(bench, "hold", names, hooks)
    await wait_until(lambda: len(bench.ledger()) == 2, "both of them run")

    server.kill()
    webhook = {"mode": "webhook", "webhook": {"url": hooks.url("/refused")}}
    refused = await bench.call("note", "refused", **webhook)
    assert (refused.status, refused.json["code"]) == (503, "store_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await bench.call("note", "call")).status == 200
    health = (await bench.request("GET", "/health")).json
    assert health["services"] == {"store": "unavailable", "roster": "ready"}
    bench.open_gate(names[0])  # it ends while its end cannot be kept
    await bench.told(names[0], "end")

    server.start()

    async def healthy() -> bool:
        shown = (await bench.request("GET", "/health")).json
        return shown["services"] == {"store": "ready", "roster": "ready"}

    await wait_until(healthy, "the store is ready again", 2)
    bench.open_gate(*names)
    ids += await submitted(bench, "note", ["late"], hooks)
    async with bench.client() as client:
        await bench.finished(client, *ids)
        ended = {task.task_id: task.status for task in (await client.tasks(limit=100)).tasks}
    # The calls are shown too; of what was refused there is nothing.
    assert [ended[TaskId(each)] for each in ids] == ["succeeded"] * 3
    assert bench.ledger(name="refused") == []
    assert sorted(each.name for each in bench.ledger()) == sorted([*names, "call", "late"])
    await wait_until(lambda: len({each.path for each in hooks.received}) == 3, "all are told of")


async def test_a_second_balancer_on_one_store_says_why_it_stops(on_redis: Bench) -> None:
    """Until several can share a store, the first one has it."""
    bench = on_redis
    await bench.fleet()
    first = bench.balancer
    second = bench.start_balancer()
    assert await second.ended() != 0
    assert "is in use by process" in second.text()
    bench.balancer = first
    assert (await bench.call("note", "call")).status == 200
