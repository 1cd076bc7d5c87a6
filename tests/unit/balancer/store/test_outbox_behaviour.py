"""What every store promises about webhooks that wait for delivery."""

from __future__ import annotations

from dataclasses import replace

from balancer.store.ports import OUTBOX_PAGE_BYTES, OutboxRow, Store, TaskFilter
from shared.ids import TaskId
from shared.task import WebhookState
from tests.fakes.store_openers import StoreOpener
from tests.fakes.stored_tasks import accept, after, committed, finish, stored_task, webhook


async def put(store: Store, *rows: OutboxRow) -> None:
    """Accept and end a task for each webhook."""
    for row in rows:
        await accept(store, stored_task(int(row.task_id[1:])))
        await finish(store, row.task_id, row=row)


async def due(store: Store, seconds: float, **chosen: list[str]) -> list[str]:
    """Return the tasks whose webhooks are due at a moment."""
    rows = await store.outbox.due(after(seconds), 100, **chosen)
    return [row.task_id for row in rows]


async def test_a_webhook_is_committed_with_its_task_and_read_back_whole(
    opener: StoreOpener, store: Store
) -> None:
    """Every field survives a restart."""
    row = webhook("t1", next_at=after(5))
    await put(store, row)
    await store.close()
    reopened = await opener.open()
    assert list(await reopened.outbox.due(after(5), 10)) == [row]
    await reopened.close()


async def test_due_rows_come_oldest_first_and_not_before_their_time(store: Store) -> None:
    """A row is due from its moment on."""
    await put(
        store, *(webhook(f"t{n}", next_at=after(at)) for n, at in ((1, 30), (2, 10), (3, 20)))
    )
    assert await due(store, 9.999999) == []
    assert await due(store, 20) == ["t2", "t3"]
    assert await due(store, 30) == ["t2", "t3", "t1"]
    assert [row.task_id for row in await store.outbox.due(after(30), 2)] == ["t2", "t3"]


async def test_next_due_looks_past_a_moment(store: Store) -> None:
    """What is due already does not hide when the next one is."""
    assert await store.outbox.next_due(after(0)) is None
    await put(store, webhook("t1", next_at=after(10)), webhook("t2", next_at=after(20)))
    assert await store.outbox.next_due(after(0)) == after(10)
    assert await store.outbox.next_due(after(10)) == after(20)
    assert await store.outbox.next_due(after(20)) is None


async def test_rows_under_way_and_busy_hosts_are_left_out(store: Store) -> None:
    """A host that takes no more does not stand in the way of others'."""
    urls = {
        1: "http://Slow.test/a",
        2: "http://slow.test:80/b",
        3: "http://slow.test:81/",
        4: "https://b.test",
    }
    await put(store, *(webhook(f"t{n}", url=url) for n, url in urls.items()))
    assert await due(store, 1, busy_hosts=["slow.test:80"]) == ["t4", "t3"]
    assert await due(store, 1, skip=["msg_t1", "msg_t4"]) == ["t2", "t3"]
    assert await due(store, 1, skip=["msg_t3"], busy_hosts=["slow.test:80", "b.test:443"]) == []


async def test_a_delivered_row_is_shown_and_not_due(store: Store) -> None:
    """Delivery counts the try and frees the bytes."""
    await put(store, webhook("t1", body=b"12345"), webhook("t2", body=b"123"))
    assert await store.outbox.pending_bytes() == 8
    await committed(lambda done: store.outbox.delivered("msg_t1", after(1), done))
    assert await due(store, 99) == ["t2"]
    assert await store.outbox.pending_bytes() == 3
    record = await store.tasks.get(TaskId("t1"))
    assert record is not None
    assert record.webhook == WebhookState(status="delivered", attempts=1)


async def test_a_postponed_row_is_due_again_later(store: Store) -> None:
    """The tries made and the next moment are shown with the task."""
    row = webhook("t1")
    await put(store, row)
    await committed(lambda done: store.outbox.postponed("msg_t1", 1, after(60), "503", done))
    assert await due(store, 59) == []
    assert list(await store.outbox.due(after(60), 9)) == [
        replace(row, attempts=1, next_at=after(60))
    ]
    record = await store.tasks.get(TaskId("t1"))
    assert record is not None
    assert record.webhook == WebhookState(status="pending", attempts=1, next_at=after(60))


async def test_a_dead_row_stays_visible_and_dead(store: Store) -> None:
    """No late answer brings a dead letter back to life."""
    await put(store, webhook("t1"))
    await committed(lambda done: store.outbox.dead("msg_t1", 4, after(9), "gone", done))
    await committed(lambda done: store.outbox.postponed("msg_t1", 5, after(10), "x", done))
    await committed(lambda done: store.outbox.delivered("msg_t1", after(11), done))
    assert await due(store, 99) == []
    record = await store.tasks.get(TaskId("t1"))
    assert record is not None
    assert record.webhook == WebhookState(status="dead", attempts=4)
    [listed], _ = await store.tasks.list(TaskFilter(), limit=1, cursor=None)
    assert listed.webhook == record.webhook


async def test_a_page_of_large_bodies_is_cut_short_but_never_empty(store: Store) -> None:
    """Bodies of one page are bounded in bytes, and one that is over the bound alone still goes out."""
    large = b"x" * (OUTBOX_PAGE_BYTES - 10)
    await put(
        store, webhook("t1", body=large), webhook("t2", body=b"y" * 11), webhook("t3", body=b"z")
    )
    assert [row.task_id for row in await store.outbox.due(after(1), 9)] == ["t1"]
    assert [row.task_id for row in await store.outbox.due(after(1), 9, skip=["msg_t1"])] == [
        "t2",
        "t3",
    ]


async def test_a_webhook_id_that_is_unknown_is_done(store: Store) -> None:
    """A row that was pruned meanwhile harms nobody."""
    await committed(lambda done: store.outbox.delivered("msg_t404", after(1), done))
    assert await store.outbox.pending_bytes() == 0
