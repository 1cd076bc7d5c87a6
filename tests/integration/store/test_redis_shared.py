"""Several balancers on one Redis: who gets which task, who counts as dead, and what a former owner may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest

from balancer.store.open import open_store
from balancer.store.ports_shared import Claimed
from balancer.store.redis import RedisStore
from balancer.store.redis.wire import Script
from shared.errors import ConfigError, Unavailable
from shared.ids import TaskId, Token
from shared.system import SystemClock
from shared.task import AttemptRecord
from shared.task_state import TaskStatus
from tests.fakes.lossy_proxy import lossy_proxy
from tests.fakes.redis_server import RedisProcess
from tests.fakes.stored_tasks import accept, after, attempt, finish, shared_task, succeeded, webhook
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.redis

POOL = ("default", 1)
BEAT_S = 0.05

Join = Callable[[str], Awaitable[RedisStore]]


@pytest.fixture
async def join(url: str) -> AsyncIterator[Join]:
    """Return what opens a store that is shared with the others, as a balancer of a name."""
    opened: list[RedisStore] = []

    async def another(name: str, *, at: str = url) -> RedisStore:
        store = await RedisStore.open(
            at, boot=name, clock=SystemClock(), shared=True, heartbeat_s=BEAT_S
        )
        opened.append(store)
        return store

    yield another
    for store in opened:
        await store.close()


def numbers(claimed: list[Claimed]) -> list[int]:
    """Return which of the tasks `t<number>.<part>` were claimed."""
    return [int(each.task.task_id[1:].partition(".")[0]) for each in claimed]


def ended(token: Token) -> AttemptRecord:
    """Return an attempt that ended."""
    return AttemptRecord(
        n=1,
        worker="w:1",
        token=token,
        started_at=after(1),
        finished_at=after(2),
        outcome="succeeded",
    )


async def beats(store: RedisStore, times: int) -> tuple[str, ...]:
    """Beat some times in time; return who is dead at the end."""
    dead: tuple[str, ...] = ()
    for _ in range(times):
        dead = (await store.queue.heartbeat()).dead
        await asyncio.sleep(BEAT_S / 2)  # what passes is what is tested
    return dead


async def test_claims_go_by_priority_then_by_acceptance_over_all_lanes(join: Join) -> None:
    """Never more of a function than it has free slots, never more than there are in all."""
    store = await join("a")
    for number, function, priority in (
        (1, "x", 5.0), (2, "y", 1.0), (3, "x", 1.0), (4, "y", 5.0), (5, "z", 0.5), (6, "x", 1.5),
        (7, "y", 1.0),
    ):  # fmt: skip
        await accept(store, shared_task(number, function=function, priority=priority))
    first = await store.queue.claim("a-1", POOL, {"x": 2, "y": 1}, 10)
    assert numbers(first) == [2, 3, 6]
    assert [each.task.request.function for each in first] == ["y", "x", "x"]
    assert len({each.token for each in first}) == 3
    assert numbers(await store.queue.claim("a-2", POOL, {"x": 9, "y": 9}, 2)) == [7, 1]
    assert await store.queue.claim("a-3", ("default", 2), {"x": 9}, 9) == []
    assert await store.queue.claim("a-4", POOL, {"x": 0}, 9) == []
    record = await store.tasks.get(first[0].task.task_id)
    assert record is not None
    assert record.status is TaskStatus.RUNNING


async def test_no_task_is_claimed_twice_by_many_who_claim_at_once(join: Join) -> None:
    """Two hundred tasks, three balancers: each task has one owner, and all of them are taken."""
    stores = [await join(name) for name in "abc"]
    tasks = [shared_task(n, function=f"f{n % 3}", priority=1 + n % 5) for n in range(1, 201)]
    await asyncio.gather(*(accept(stores[n % 3], task) for n, task in enumerate(tasks)))
    chance = Random(7)

    async def claimer(name: str, store: RedisStore) -> list[int]:
        got: list[int] = []
        for turn in range(1000):
            room = {f"f{n}": chance.randint(0, 3) for n in range(3)}
            some = await store.queue.claim(f"{name}-{turn}", POOL, room, 5)
            assert len(some) <= 5
            got += numbers(some)
            if not some and sum(room.values()):
                left = await store.queue.claim(
                    f"{name}-last", POOL, {f"f{n}": 200 for n in range(3)}, 200
                )
                return got + numbers(left)
        raise AssertionError("the tasks have no end")

    found = await asyncio.gather(*(claimer(n, s) for n, s in zip("abc", stores, strict=True)))
    assert sorted(number for each in found for number in each) == list(range(1, 201))


async def test_a_claim_whose_answer_was_lost_gets_the_same_tasks_again(
    join: Join, url: str, server: RedisProcess
) -> None:
    """It is neither stuck nor claimed twice; what was given back meanwhile is not in it any more."""
    async with lossy_proxy(server.port, Script("claim").digest.encode()) as proxy:
        through = url.replace(f":{server.port}/", f":{proxy.port}/")
        store = await RedisStore.open(through, boot="a", clock=SystemClock(), shared=True)
        for number in (1, 2, 3):
            await accept(store, shared_task(number))
        proxy.losing = 1
        # The script is not known yet, so it is sent in full the first time: make it known.
        assert await store.queue.claim("a-0", POOL, {"other": 1}, 1) == []
        proxy.losing = 1
        claimed = await store.queue.claim("a-1", POOL, {"hello": 2}, 2)
        assert proxy.lost >= 1
        assert numbers(claimed) == [1, 2]
        assert await store.queue.claim("a-1", POOL, {"hello": 2}, 2) == claimed
        assert await store.queue.give_back(claimed[0].task.task_id, claimed[0].token)
        assert numbers(await store.queue.claim("a-1", POOL, {"hello": 2}, 2)) == [2]
        await store.close()


async def test_what_is_given_back_keeps_its_own_place(join: Join) -> None:
    """Before those that were accepted later, and only its owner can."""
    first, second = await join("a"), await join("b")
    for number in (1, 2, 3):
        await accept(first, shared_task(number))
    [one, two] = await first.queue.claim("a-1", POOL, {"hello": 2}, 2)
    assert not await second.queue.give_back(one.task.task_id, one.token)
    assert await first.queue.give_back(one.task.task_id, one.token)
    assert not await first.queue.give_back(one.task.task_id, one.token)
    assert numbers(await second.queue.claim("b-1", POOL, {"hello": 9}, 9)) == [1, 3]
    assert await first.queue.answer(
        two.task.task_id, two.token, succeeded(), ended(two.token), after(9), None
    )


async def test_a_delayed_task_is_claimed_when_it_is_due(join: Join) -> None:
    """By the server's clock."""
    store = await join("a")
    for task, due_at in (
        (shared_task(1), after(0)),  # years from now
        (shared_task(2), SystemClock().utc_now()),
    ):
        record = replace(task.record, status=TaskStatus.SCHEDULED)
        await accept(store, replace(task, due_at=due_at, record=record))
    assert numbers(await store.queue.claim("a-1", POOL, {"hello": 9}, 9)) == [2]


async def test_a_balancer_that_is_silent_is_dead_after_three_heartbeats(join: Join) -> None:
    """One that beats is not, and nobody is called dead before three clean beats."""
    first, second = await join("a"), await join("b")
    await second.queue.heartbeat()
    assert [(await first.queue.heartbeat()).dead for _ in range(3)] == [()] * 3

    async def dead() -> bool:
        return "b" in (await first.queue.heartbeat()).dead

    await wait_until(dead, "the silent one is dead", interval_s=BEAT_S / 2)
    assert (await second.queue.heartbeat()).late
    assert "b" not in (await first.queue.heartbeat()).dead


async def test_nobody_is_dead_right_after_an_outage(join: Join, server: RedisProcess) -> None:
    """Everybody was silent then: three clean heartbeats come first."""
    first, second = await join("a"), await join("b")
    await beats(second, 1)
    await beats(first, 4)
    server.kill()
    with pytest.raises(Unavailable):
        await first.queue.heartbeat()
    server.start()

    async def heard() -> bool:
        try:
            assert (await first.queue.heartbeat()).dead == ()
        except Unavailable:
            return False  # it is still loading
        return True

    await wait_until(heard, "the server has come back")
    for _ in range(2):
        assert (await first.queue.heartbeat()).dead == ()
    await wait_until(lambda: first.healthy and second.healthy, "both go on")


async def test_the_tasks_of_a_dead_balancer_are_taken_over_under_their_tokens(join: Join) -> None:
    """So that attempts that run are adopted; each goes to one balancer, and the dead one is forgotten."""
    first, second, third = [await join(name) for name in "abc"]
    await beats(first, 1)
    for number in range(1, 11):
        await accept(first, shared_task(number, function="f"))
    had = await first.queue.claim("a-1", POOL, {"f": 10}, 10)
    first.tasks.started(had[0].task.task_id, attempt(1))
    await finish(first, had[9].task.task_id)
    await first.queue.leave()
    # At once, for one that left in good order; three beats, because the others have just come.
    assert "a" in await beats(second, 4)
    took, too = await asyncio.gather(
        second.queue.takeover("b-t1", "a", 5), third.queue.takeover("c-t1", "a", 5)
    )
    assert sorted(numbers(took) + numbers(too)) == list(range(1, 10))
    assert await second.queue.takeover("b-t1", "a", 5) == took  # as when its answer was lost
    tokens = {each.task.task_id: each.token for each in (*took, *too)}
    expected = {each.task.task_id: each.token for each in had[1:9]}
    assert tokens == {had[0].task.task_id: attempt(1).token, **expected}
    assert await second.queue.takeover("b-t2", "a", 5) == []
    assert "a" not in (await second.queue.heartbeat()).dead


async def test_what_a_former_owner_says_is_superseded(join: Join) -> None:
    """Its answer ends nothing, and is shown; the new owner's does."""
    first, second = await join("a"), await join("b")
    await accept(first, shared_task(1))
    [mine] = await first.queue.claim("a-1", POOL, {"hello": 1}, 1)
    task_id = mine.task.task_id
    await first.queue.heartbeat()
    await first.queue.leave()
    [theirs] = await second.queue.takeover("b-t", "a", 9)
    assert theirs.token == mine.token
    second.tasks.requeued(task_id, None, deaths=1, spent=0, due_at=None)
    await accept(second, shared_task(2))
    [again, _] = await second.queue.claim("b-1", POOL, {"hello": 9}, 9)
    assert (again.task.task_id, again.task.deaths) == (task_id, 1)

    late = ended(mine.token)
    row = webhook(task_id)
    assert not await first.queue.answer(task_id, mine.token, succeeded(), late, after(3), row)
    first.tasks.requeued(task_id, late, deaths=9, spent=9, due_at=None)
    first.tasks.started(task_id, attempt(7))
    await accept(first, shared_task(3))
    record = await second.tasks.get(task_id)
    assert record is not None
    assert record.status is TaskStatus.RUNNING
    assert [each.outcome for each in record.attempts] == ["superseded"]
    assert await second.outbox.due(after(99), 9) == []

    done = ended(again.token)
    assert await second.queue.answer(task_id, again.token, succeeded(), done, after(4), row)
    record = await second.tasks.get(task_id)
    assert record is not None
    assert record.status is TaskStatus.SUCCEEDED
    assert {each.outcome for each in record.attempts} == {"superseded", "succeeded"}


async def test_a_balancer_that_shares_with_nobody_is_refused_beside_others(
    join: Join, url: str
) -> None:
    """And what it had alone before is taken over as a dead balancer's."""
    alone = await open_store(url, clock=SystemClock())
    task = shared_task(1)
    await accept(alone, task)
    alone.tasks.started(task.task_id, attempt(1))
    await alone.close()
    store = await join("a")
    with pytest.raises(ConfigError, match="in use by several balancers"):
        await open_store(url, clock=SystemClock())
    assert await beats(store, 4) == ("single",)
    [taken] = await store.queue.takeover("a-t", "single", 9)
    assert (taken.task, taken.token) == (
        replace(task, number=1, record=taken.task.record),
        attempt(1).token,
    )
    assert await store.tasks.get(TaskId("t404")) is None
