"""Keys of tasks: kept with their task or not at all, found until they expire, and bounded."""

from __future__ import annotations

import pytest

from balancer.store.ports import Store, StoredTask
from balancer.store.ports_once import KeyTaken, OnceKey
from shared.errors import Unavailable
from shared.ids import TaskId
from tests.fakes.store_openers import StoreOpener
from tests.fakes.stored_tasks import accept, after, finish, stored_task

DAY_S = 86_400.0


def named(
    number: int,
    key: str = "order-1",
    *,
    owner: str = "lb",
    fingerprint: str = "f",
    expires_s: float = DAY_S,
) -> StoredTask:
    """Return task `t<number>`, named by a key."""
    task = stored_task(number)
    once = OnceKey(
        owner=owner,
        key=key,
        fingerprint=fingerprint,
        task_id=task.task_id,
        expires_at=after(expires_s),
    )
    return StoredTask(
        task_id=task.task_id, request=task.request, created_at=task.created_at,
        deadline_at=task.deadline_at, order=task.order, record=task.record, once=once,
    )  # fmt: skip


async def holder(store: Store, key: str = "order-1", *, owner: str = "lb", now_s: float = 1) -> str:
    """Return the task of a key; nothing when it stands for none."""
    found = await store.once.find(owner, key, after(now_s))
    return "" if found is None else found.task_id


async def test_a_key_is_found_with_what_was_asked_for(store: Store) -> None:
    """All of it comes back, and only to its owner."""
    task = named(1, fingerprint="abc")
    await accept(store, task)
    assert await store.once.find("lb", "order-1", after(1)) == task.once
    assert await holder(store, owner="somebody") == ""
    assert await holder(store, "order-2") == ""


async def test_a_key_stands_for_one_task(store: Store) -> None:
    """The second one is not accepted, nor counted; the first may be accepted again as often as needed."""
    await accept(store, named(1))
    with pytest.raises(KeyTaken) as caught:
        await accept(store, named(2))
    assert caught.value.code == "idempotency_conflict"
    assert await store.tasks.get(TaskId("t2")) is None
    assert await store.tasks.count() == 1
    await accept(store, named(1))
    assert await holder(store) == "t1"
    assert await store.tasks.count() == 1


async def test_of_two_tasks_that_come_together_one_has_the_key(store: Store) -> None:
    """Within one commit too, and a third with a key of its own is not touched by it."""
    told: dict[str, Unavailable | None] = {}
    for number, key in ((1, "a"), (2, "a"), (3, "b")):
        task = named(number, key)
        store.tasks.accept(task, lambda error, name=task.task_id: told.update({name: error}))
    await accept(store, stored_task(4))
    assert {name: error is None for name, error in told.items()} == {
        "t1": True,
        "t2": False,
        "t3": True,
    }
    assert await store.tasks.count() == 3


async def test_two_owners_may_use_the_same_key(store: Store) -> None:
    """A key is its owner's."""
    await accept(store, named(1, owner="a"), named(2, owner="b"))
    assert await holder(store, owner="a") == "t1"
    assert await holder(store, owner="b") == "t2"


async def test_an_expired_key_is_free(store: Store) -> None:
    """Whether or not it was pruned."""
    await accept(store, named(1, expires_s=1.5))
    assert await holder(store, now_s=1.4) == "t1"
    assert await holder(store, now_s=1.5) == ""
    await accept(store, named(2))  # it is created at 2 s
    assert await holder(store, now_s=2) == "t2"


async def test_a_key_survives_its_store(opener: StoreOpener) -> None:
    """It was committed with its task."""
    first = await opener.open()
    await accept(first, named(1))
    await first.close()
    again = await opener.open()
    assert await holder(again) == "t1"
    await again.close()


async def test_what_could_not_be_committed_leaves_no_key(opener: StoreOpener, store: Store) -> None:
    """An outage takes both or none."""
    opener.begin_outage()
    with pytest.raises(Unavailable) as caught:
        await accept(store, named(1))
    assert not isinstance(caught.value, KeyTaken)
    opener.end_outage()
    assert await holder(store) == ""


async def test_pruning_forgets_what_has_expired(store: Store) -> None:
    """The oldest first, a batch at a time."""
    await accept(store, *(named(n, f"k{n}", expires_s=100 + n) for n in range(1, 5)))
    assert await store.once.prune(after(103), 100, 2) == 2
    assert await store.once.prune(after(103), 100, 2) == 1
    assert await store.once.prune(after(103), 100, 2) == 0
    assert [await holder(store, f"k{n}") for n in range(1, 5)] == ["", "", "", "t4"]


async def test_pruning_keeps_only_so_many(store: Store) -> None:
    """Past the bound those go that would have gone next."""
    await accept(store, *(named(n, f"k{n}", expires_s=100 + n) for n in range(1, 6)))
    assert await store.once.prune(after(50), 2, 2) == 2
    assert await store.once.prune(after(50), 2, 2) == 1
    assert await store.once.prune(after(50), 2, 2) == 0
    assert [await holder(store, f"k{n}") for n in range(1, 6)] == ["", "", "", "t4", "t5"]


async def test_a_task_is_kept_as_long_as_its_key(store: Store) -> None:
    """Or there would be nothing to answer a repeated request with."""
    await accept(store, named(1), stored_task(2))
    await finish(store, "t1", at=after(1))
    await finish(store, "t2", at=after(1))
    assert await store.tasks.prune(after(50), 10) == 1
    assert await store.tasks.get(TaskId("t1")) is not None
    await store.once.prune(after(DAY_S), 10, 10)
    assert await store.tasks.prune(after(50), 10) == 1
    assert await store.tasks.get(TaskId("t1")) is None
