"""The Redis store over Sentinel and over Cluster: real servers, a real failover, every slot."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from balancer.store.open import open_store
from balancer.store.ports import Store, TaskFilter
from balancer.store.redis.parts import part_of, shared_task_id
from shared.errors import Unavailable
from shared.ids import TaskId
from shared.system import SystemClock
from tests.fakes.raw_redis import raw_redis
from tests.fakes.redis_audit import RedisAudit
from tests.fakes.redis_fleet import cluster, watched
from tests.fakes.stored_tasks import (
    accept,
    after,
    committed,
    finish,
    shared_task,
    stored_task,
    webhook,
)
from tests.fakes.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(60)]


async def test_a_failover_is_an_outage_that_ends_by_itself(tmp_path: Path) -> None:
    """kill -9 of the master: the Sentinels choose the replica, and the store goes on there."""
    with watched(tmp_path) as fleet:
        store = await open_store(fleet.url, clock=SystemClock())
        await asyncio.gather(*(accept(store, stored_task(n)) for n in range(1, 51)))
        replica = raw_redis(fleet.replica.url)
        copied = lambda: replica.execute_command("ZCARD", "{cabrank:ff}:open") == 50  # noqa: E731
        await wait_until(copied, "the replica has it all")
        replica.close()
        fleet.master.kill()
        with pytest.raises(Unavailable):
            await accept(store, stored_task(51))
        await wait_until(fleet.failed_over, "the replica is the master", 20)
        began_s = asyncio.get_running_loop().time()
        await wait_until(lambda: store.healthy, "the store goes on")
        # A second, and what the Sentinels take to tell of it.
        assert asyncio.get_running_loop().time() - began_s < 3
        await accept(store, stored_task(52))
        assert await store.tasks.count() == 51
        assert await store.tasks.get(TaskId("t51")) is None
        await finish(store, "t1", row=webhook("t1"))
        assert [row.task_id for row in await store.outbox.due(after(1), 9)] == ["t1"]
        await store.close()
        RedisAudit([fleet.replica.url], "cabrank").check()


POOLS = [(f"group-{n}", 1 + n % 3) for n in range(12)]


async def test_a_cluster_keeps_the_tasks_of_many_pools(tmp_path: Path) -> None:
    """Parts are spread over the nodes; pages, recovery, the outbox and pruning go over all of them."""
    with cluster(tmp_path) as fleet:
        store = await open_store(fleet.url, clock=SystemClock())
        await over_many_pools(store)
        await store.close()
        nodes = [raw_redis(url) for url in fleet.urls]
        assert all(int(str(node.execute_command("DBSIZE"))) > 0 for node in nodes)
        for node in nodes:
            node.close()
        audit = RedisAudit(fleet.urls, "cabrank")
        audit.check()
        audit.remove()


async def test_one_server_keeps_the_tasks_of_many_pools(url: str) -> None:
    """The same on one server."""
    store = await open_store(url, clock=SystemClock())
    await over_many_pools(store)
    await store.close()


async def over_many_pools(store: Store) -> None:
    """Use every part of the ports with tasks in many parts."""
    tasks = [shared_task(n, pool=POOLS[n % len(POOLS)]) for n in range(1, 61)]
    assert len({part_of(task.task_id) for task in tasks}) > 8
    for task in tasks:
        await accept(store, task)
    ids = [task.task_id for task in tasks]

    listed, cursor = list[str](), None
    while True:
        page, cursor = await store.tasks.list(TaskFilter(), limit=7, cursor=cursor)
        listed += [record.task_id for record in page]
        if cursor is None:
            break
    assert listed == ids[::-1]
    chosen, _ = await store.tasks.list(TaskFilter(group="group-3"), limit=99, cursor=None)
    assert [record.task_id for record in chosen] == [i for i in ids if i in ids[2::12]][::-1]

    recovered, last = list[str](), 0
    while back := await store.tasks.recover(after_order=last, limit=9):
        assert back == tasks[last : last + 9]
        recovered += [task.task_id for task in back]
        last = back[-1].order
    assert recovered == ids
    assert await store.tasks.count() == 60

    for n, task_id in enumerate(ids[:40]):
        row = webhook(task_id, next_at=after(n), body=b"12345")
        await finish(store, task_id, at=after(n), row=row)
    assert await store.tasks.count() == 20
    assert await store.outbox.pending_bytes() == 200
    rows = await store.outbox.due(after(19), 100)
    assert [row.task_id for row in rows] == ids[:20]
    assert await store.outbox.next_due(after(19)) == after(20)
    for task_id in ids[:30]:
        await committed(partial(store.outbox.delivered, f"msg_{task_id}", after(99)))
    assert await store.tasks.prune(after(25), 10) == 10
    assert [await store.tasks.get(TaskId(i)) for i in ids[:10]] == [None] * 10
    assert await store.tasks.prune(after(25), 100) == 15
    assert await store.tasks.prune(after(99), 100) == 5  # the webhooks of the others are pending
    assert await store.tasks.input(shared_task_id("none", POOLS[0])) is None


async def test_a_cluster_that_lost_a_node_is_out_until_it_is_back(tmp_path: Path) -> None:
    """What was accepted is there again, and the scripts are loaded again."""
    with cluster(tmp_path) as fleet:
        store = await open_store(fleet.url, clock=SystemClock())
        tasks = [shared_task(n, pool=POOLS[n % len(POOLS)]) for n in range(1, 25)]
        for task in tasks:
            await accept(store, task)
        fleet.nodes[2].kill()

        async def broken() -> bool:
            for task in tasks:
                await finish(store, task.task_id)
            return False

        with pytest.raises(Unavailable):
            await broken()
        assert not store.healthy
        fleet.nodes[2].start()
        await wait_until(lambda: store.healthy, "the store goes on", 20)
        for task in tasks:
            await finish(store, task.task_id)
        assert await store.tasks.count() == 0
        await store.close()
