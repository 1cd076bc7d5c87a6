"""What the Redis store does while Redis does not do what it should: nothing is lost, and nothing hangs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from balancer.store.open import open_store
from balancer.store.ports import Store
from balancer.store.redis import wire
from balancer.store.redis.wire import Script
from shared.errors import Unavailable
from shared.ids import TaskId
from shared.system import SystemClock
from shared.task_state import TaskStatus
from tests.fakes.lossy_proxy import LossyProxy, lossy_proxy
from tests.fakes.raw_redis import RawRedis, raw_redis
from tests.fakes.redis_server import RedisProcess
from tests.fakes.stored_tasks import accept, after, attempt, committed, finish, stored_task, webhook
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.redis

Commands = list[tuple[str | int, ...]]

# How a server is brought to refuse writes, and how it is healed.
REFUSALS: dict[str, tuple[Commands, Commands]] = {
    "NOREPLICAS": (
        [("CONFIG", "SET", "min-replicas-to-write", 1)],
        [("CONFIG", "SET", "min-replicas-to-write", 0)],
    ),
    "OOM": ([("CONFIG", "SET", "maxmemory", 1)], [("CONFIG", "SET", "maxmemory", 0)]),
    "READONLY": ([("REPLICAOF", "127.0.0.1", 1)], [("REPLICAOF", "NO", "ONE")]),
    "MASTERDOWN": (
        [("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", 1)],
        [("REPLICAOF", "NO", "ONE"), ("CONFIG", "SET", "replica-serve-stale-data", "yes")],
    ),
}


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Return an open store."""
    opened = await open_store(url, clock=SystemClock())
    yield opened
    await opened.close()


def raw(url: str) -> RawRedis:
    """Return a client of the server of a store."""
    return raw_redis(url.partition("?")[0])


async def healthy_soon(store: Store) -> float:
    """Wait until a store works again and return how long that took."""
    began_s = asyncio.get_running_loop().time()
    await wait_until(lambda: store.healthy, "the store has recovered")
    return asyncio.get_running_loop().time() - began_s


@pytest.mark.parametrize("cause", REFUSALS)
async def test_a_server_that_refuses_writes_is_an_outage_that_ends_by_itself(
    url: str, store: Store, cause: str
) -> None:
    """Writes fail and say why, and go through again within a second of the end."""
    await accept(store, stored_task(1))
    client = raw(url)
    begin, end = REFUSALS[cause]
    for command in begin:
        client.execute_command(*command)
    try:
        with pytest.raises(Unavailable, match=r"Store is unavailable") as caught:
            await accept(store, stored_task(2))
        assert not store.healthy
    finally:
        for command in end:
            client.execute_command(*command)
        client.close()
    assert "p@ss" not in str(caught.value)
    assert await healthy_soon(store) < 1.5  # a second, and what a busy machine takes
    await accept(store, stored_task(3))
    assert await store.tasks.count() == 2
    assert await store.tasks.get(TaskId("t2")) is None


async def test_a_killed_server_loses_nothing_that_was_accepted(
    url: str, store: Store, server: RedisProcess
) -> None:
    """With appendfsync always, kill -9 and a restart bring everything back; meanwhile nothing hangs."""
    await asyncio.gather(*(accept(store, stored_task(n)) for n in range(1, 201)))
    await finish(store, "t1", row=webhook("t1"))
    server.kill()
    with pytest.raises(Unavailable):
        await accept(store, stored_task(201))
    with pytest.raises(Unavailable):
        await store.tasks.get(TaskId("t1"))
    assert not store.healthy
    server.start()
    assert await healthy_soon(store) < 1.5
    assert await store.tasks.count() == 199
    assert [row.task_id for row in await store.outbox.due(after(1), 9)] == ["t1"]
    await accept(store, stored_task(202))


async def test_a_server_that_has_forgotten_the_scripts_gets_them_again(
    url: str, store: Store
) -> None:
    """Restarted or flushed, it costs one more round trip and nobody notices."""
    await accept(store, stored_task(1))
    client = raw(url)
    client.execute_command("SCRIPT", "FLUSH")
    await accept(store, stored_task(2))
    client.execute_command("SCRIPT", "FLUSH")
    client.close()
    assert await store.tasks.count() == 2
    assert store.healthy


class Lossy:
    """A store behind a proxy that loses the answers of commits."""

    def __init__(self, proxy: LossyProxy, store: Store) -> None:
        self.proxy = proxy
        self.store = store


@pytest.fixture
async def lossy(url: str, server: RedisProcess) -> AsyncIterator[Lossy]:
    """Return a store whose commits can lose their answers."""
    async with lossy_proxy(server.port, Script("commit").digest.encode()) as proxy:
        through = url.replace(f":{server.port}/", f":{proxy.port}/")
        store = await open_store(through, clock=SystemClock())
        yield Lossy(proxy, store)
        await store.close()


async def test_a_commit_whose_answer_was_lost_is_applied_once(lossy: Lossy) -> None:
    """It is sent again, and the server knows that it has it."""
    store = lossy.store
    await accept(store, stored_task(1))
    store.tasks.started(TaskId("t1"), attempt(1))
    await finish(store, "t1", row=webhook("t1"))
    lossy.proxy.losing = 1
    await committed(lambda done: store.outbox.delivered("msg_t1", after(1), done))
    assert lossy.proxy.lost == 1
    record = await store.tasks.get(TaskId("t1"))
    assert record is not None
    assert record.webhook is not None
    assert record.webhook.attempts == 1
    assert await store.outbox.pending_bytes() == 0


async def test_what_nobody_was_told_of_is_taken_back(lossy: Lossy) -> None:
    """An accept that was answered by an error leaves no task, although the server had taken it."""
    store = lossy.store
    await accept(store, stored_task(1))
    lossy.proxy.losing = 2
    with pytest.raises(Unavailable):
        await accept(store, stored_task(2))
    assert lossy.proxy.lost == 2
    await healthy_soon(store)
    assert await store.tasks.get(TaskId("t2")) is None
    assert await store.tasks.count() == 1
    record = await store.tasks.get(TaskId("t1"))
    assert record is not None
    assert record.status is TaskStatus.QUEUED


async def test_what_was_there_before_is_not_taken_back(lossy: Lossy) -> None:
    """A task that is accepted once more, without an answer, stays: somebody was told of it."""
    store = lossy.store
    await accept(store, stored_task(1))
    lossy.proxy.losing = 2
    with pytest.raises(Unavailable):
        await accept(store, stored_task(1))
    await healthy_soon(store)
    assert await store.tasks.count() == 1


async def test_a_server_that_stands_still_is_an_outage(
    url: str, server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for it for ever; what it does when it wakes up is taken back."""
    monkeypatch.setattr(wire, "ANSWER_TIMEOUT_S", 0.3)
    store = await open_store(url, clock=SystemClock())
    await accept(store, stored_task(1))
    server.send(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            await accept(store, stored_task(2))
        with pytest.raises(Unavailable):
            await store.tasks.get(TaskId("t1"))
        assert not store.healthy
    finally:
        server.send(signal.SIGCONT)
    assert await healthy_soon(store) < 2
    assert await store.tasks.get(TaskId("t2")) is None
    assert await store.tasks.count() == 1
    await store.close()
