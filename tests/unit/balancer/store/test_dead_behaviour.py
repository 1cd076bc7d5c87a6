"""What every store promises about dead letters."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balancer.store.ports import INLINE_INPUT_LIMIT, Store, StoredTask, TaskFilter
from balancer.store.ports_dead import DeadCounts, DeadFilter, DeadLetter, Renewal
from shared.dead_letter import DeadKind
from shared.errors import CallerError, Unavailable
from shared.ids import TaskId
from shared.task import Outcome
from shared.task_state import TaskStatus
from tests.fakes.store_openers import StoreOpener
from tests.fakes.stored_tasks import (
    accept,
    after,
    attempt,
    committed,
    failed,
    finish,
    stored_task,
    webhook,
)

ALL = DeadFilter()
DEADLINE = timedelta(seconds=60)  # of `stored_task`


def ended(status: TaskStatus) -> Outcome:
    """Return a bad end."""
    return replace(failed(), status=status)


async def bury(
    store: Store, number: int, *, status: TaskStatus = TaskStatus.FAILED, **members: object
) -> StoredTask:
    """Make the task `t<number>` a dead letter, which died that many seconds after the start."""
    task = stored_task(number, **members)  # pyright: ignore[reportArgumentType] of this test's own making
    await accept(store, task)
    await finish(store, f"t{number}", ended(status), at=after(number))
    return task


async def bury_webhook(store: Store, number: int) -> None:
    """Make the webhook of the task `t<number>`, which succeeded, a dead letter."""
    await accept(store, stored_task(number))
    await finish(store, f"t{number}", at=after(number), row=webhook(f"t{number}"))
    await committed(
        lambda done: store.outbox.dead(
            f"msg_t{number}", 4, after(number), "4 tries: HTTP 500", done
        )
    )


async def listed(store: Store, chosen: DeadFilter = ALL) -> list[str]:
    """Return the ids of all letters that match."""
    page, following = await store.dead.list(chosen, limit=1000, cursor=None)
    assert following is None
    return [letter.letter_id for letter in page]


async def found(store: Store, letter_id: str) -> DeadLetter:
    """Return a letter that must be there."""
    letter = await store.dead.get(letter_id)
    assert letter is not None
    return letter


def renewal(number: int, *, seconds: float = 500) -> Renewal:
    """Return the renewal of a task as `t<number>`."""
    return Renewal(task_id=TaskId(f"t{number}"), order=number, at=after(seconds))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (TaskStatus.SUCCEEDED, None),
        (TaskStatus.CANCELLED, None),
        (TaskStatus.FAILED, DeadKind.TASK),
        (TaskStatus.TIMED_OUT, DeadKind.TASK),
        (TaskStatus.EXPIRED, DeadKind.TASK),
        (TaskStatus.QUARANTINED, DeadKind.QUARANTINE),
    ],
)
async def test_an_end_that_nobody_asked_for_makes_a_letter(
    store: Store, status: TaskStatus, kind: DeadKind | None
) -> None:
    """What failed, timed out or expired is a letter, what is quarantined another; the rest is over."""
    await bury(store, 1, status=status)
    letter = await store.dead.get("t1")
    assert (letter and letter.kind) == kind
    assert await listed(store) == ([] if kind is None else ["t1"])


async def test_a_letter_tells_the_whole_story(store: Store) -> None:
    """Its task with attempts and failure, why and when it died."""
    await accept(store, stored_task(1))
    last = attempt(2, outcome="failed", code="function_error")
    await finish(store, "t1", failed(), ended=last, at=after(9))
    letter = await found(store, "t1")
    assert (letter.died_at, letter.code, letter.webhook) == (after(9), "function_error", None)
    assert letter.task == await store.tasks.get(TaskId("t1"))
    assert letter.task.attempts == (last,)


async def test_a_webhook_that_is_given_up_is_a_letter(store: Store) -> None:
    """Under its own id, with its tries and the last error; its task has its result."""
    await bury_webhook(store, 1)
    letter = await found(store, "msg_t1")
    assert (letter.kind, letter.code, letter.died_at) == (
        DeadKind.WEBHOOK,
        "webhook_failed",
        after(1),
    )
    assert letter.webhook is not None
    assert (letter.webhook.host, letter.webhook.attempts, letter.webhook.outcome) == (
        "hooks.test:80", 4, "succeeded",
    )  # fmt: skip
    assert letter.webhook.error == "4 tries: HTTP 500"
    assert letter.task.result == b'{"text":"Hello"}'
    assert [each.task.result for each in (await store.dead.list(ALL, limit=9, cursor=None))[0]] == [
        None
    ]


async def test_a_webhook_dies_once(store: Store) -> None:
    """What is said again about it, because an answer was lost, makes no second letter."""
    await bury_webhook(store, 1)
    await committed(lambda done: store.outbox.dead("msg_t1", 9, after(9), "again", done))
    assert await listed(store) == ["msg_t1"]
    assert (await found(store, "msg_t1")).died_at == after(1)


async def test_letters_are_filtered(store: Store) -> None:
    """By kind, function, group, code and time, newest first."""
    await bury(store, 1, function="f")
    await bury(store, 2, status=TaskStatus.QUARANTINED, group="g")
    await bury_webhook(store, 3)
    await bury(store, 4, function="f", group="g")
    rows: list[tuple[DeadFilter, list[str]]] = [
        (ALL, ["t4", "msg_t3", "t2", "t1"]),
        (DeadFilter(kinds=(DeadKind.TASK,)), ["t4", "t1"]),
        (DeadFilter(kinds=(DeadKind.WEBHOOK, DeadKind.QUARANTINE)), ["msg_t3", "t2"]),
        (DeadFilter(function="f"), ["t4", "t1"]),
        (DeadFilter(group="g"), ["t4", "t2"]),
        (DeadFilter(function="f", group="g"), ["t4"]),
        (DeadFilter(code="webhook_failed"), ["msg_t3"]),
        (DeadFilter(letter_id="t2"), ["t2"]),
        (DeadFilter(since=after(3)), ["t4", "msg_t3"]),
        (DeadFilter(before=after(3)), ["t2", "t1"]),
        (DeadFilter(since=after(2), before=after(3)), ["t2"]),
        (DeadFilter(function="nobody"), []),
    ]
    for chosen, expected in rows:
        assert await listed(store, chosen) == expected, chosen
    assert await store.dead.counts() == DeadCounts(task=2, webhook=1, quarantine=1)


@pytest.mark.parametrize("cursor", ["", "x", "W10"])
async def test_another_s_cursor_is_refused(store: Store, cursor: str) -> None:
    """A cursor that did not come from here is the caller's error."""
    with pytest.raises(CallerError):
        await store.dead.list(ALL, limit=1, cursor=cursor)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_pages_follow_each_other_whatever_goes_meanwhile(
    store: Store, data: st.DataObject
) -> None:
    """Every letter that stays is shown once, newest first, while others are made and purged."""
    first = (await store.tasks.list(TaskFilter(), limit=1, cursor=None))[0]
    start = int(first[0].task_id[1:]) + 1 if first else 1
    await store.dead.purge(ALL, 1000)
    count = data.draw(st.integers(0, 8))
    for number in range(start, start + count):
        await bury(store, number)
    shown: list[str] = []
    cursor, gone = None, set[str]()
    while True:
        limit = data.draw(st.integers(1, 3))
        page, cursor = await store.dead.list(ALL, limit=limit, cursor=cursor)
        shown += [letter.letter_id for letter in page]
        if cursor is None:
            break
        victim = f"t{start + data.draw(st.integers(0, count))}"
        if (await store.dead.purge(DeadFilter(letter_id=victim), 1)).total:
            gone.add(victim)
        await bury(store, start + count + len(shown))
    expected = [f"t{number}" for number in reversed(range(start, start + count))]
    assert [each for each in shown if each not in gone] == [
        each for each in expected if each not in gone
    ]
    assert len(set(shown)) == len(shown)


async def test_a_replayed_task_is_a_new_one_with_the_same_request(
    opener: StoreOpener, store: Store
) -> None:
    """Everything that was asked for, the sealed key included; nothing of what happened to the old one."""
    old = await bury(store, 1)
    again = await store.dead.replay_task("t1", renewal(7))
    assert again is not None
    assert again.request == old.request
    assert (again.task_id, again.order, again.created_at) == ("t7", 7, after(500))
    assert again.deadline_at == after(500) + DEADLINE
    assert (again.deaths, again.spent, again.number, again.due_at) == (0, 0, 0, None)
    record = await store.tasks.get(TaskId("t7"))
    assert record is not None
    assert record == again.record
    assert (record.status, record.replay_of, record.attempts, record.failure) == (
        TaskStatus.QUEUED, "t1", (), None,
    )  # fmt: skip
    assert record.metadata == old.record.metadata
    await store.close()
    reopened = await opener.open()
    assert await reopened.tasks.recover(after_order=0, limit=10) == [again]
    assert await reopened.tasks.input(TaskId("t7")) == old.request.input
    await reopened.close()


async def test_a_letter_is_replayed_once(store: Store) -> None:
    """The second replay finds no letter and makes no task, at the same time or later."""
    await bury(store, 1)
    results = await asyncio.gather(
        store.dead.replay_task("t1", renewal(7)), store.dead.replay_task("t1", renewal(8))
    )
    assert sorted(each is None for each in results) == [False, True]
    assert await store.dead.replay_task("t1", renewal(9)) is None
    assert await store.tasks.count() == 1
    assert await listed(store) == []
    old = await store.tasks.get(TaskId("t1"))
    assert old is not None
    assert old.status is TaskStatus.FAILED


async def test_a_replay_that_fails_too_is_a_letter_of_its_own(store: Store) -> None:
    """And can be replayed again."""
    await bury(store, 1)
    assert await store.dead.replay_task("t1", renewal(7)) is not None
    await finish(store, "t7", failed(), at=after(600))
    assert await listed(store) == ["t7"]
    assert await store.dead.replay_task("t7", renewal(8)) is not None


async def test_a_large_input_stays_in_the_store(store: Store) -> None:
    """A replayed task is handed over like a recovered one: its input is read when it is needed."""
    content = b'{"x":"' + b"y" * INLINE_INPUT_LIMIT + b'"}'
    await bury(store, 1, content=content)
    again = await store.dead.replay_task("t1", renewal(7))
    assert again is not None
    assert again.request.input == b""
    assert await store.tasks.input(TaskId("t7")) == content


async def test_a_replayed_webhook_is_pending_again_under_its_id(
    opener: StoreOpener, store: Store
) -> None:
    """The same body to the same place, due at once, with all its tries before it; once."""
    await bury_webhook(store, 1)
    row = await store.dead.replay_webhook("msg_t1", after(50))
    assert row == webhook("t1", next_at=after(50))
    assert await store.dead.replay_webhook("msg_t1", after(60)) is None
    assert await store.outbox.due(after(50), 10) == [row]
    await store.close()
    reopened = await opener.open()
    assert await reopened.outbox.due(after(50), 10) == [row]
    await committed(lambda done: reopened.outbox.dead("msg_t1", 4, after(70), "no", done))
    assert (await found(reopened, "msg_t1")).died_at == after(70)
    await reopened.close()


async def test_a_quarantined_task_survives_a_restart_as_quarantined(
    opener: StoreOpener, store: Store
) -> None:
    """It is not taken over as unfinished, is listed, and can be released afterwards."""
    await bury(store, 1, status=TaskStatus.QUARANTINED)
    await store.close()
    reopened = await opener.open()
    assert await reopened.tasks.recover(after_order=0, limit=10) == []
    page, _ = await reopened.tasks.list(TaskFilter(status="quarantined"), limit=9, cursor=None)
    assert [record.task_id for record in page] == ["t1"]
    assert await reopened.dead.release(TaskId("t1"), after(900)) is not None
    await reopened.close()


async def test_a_released_task_goes_on_where_it_was(store: Store) -> None:
    """Its own id, place, attempts and spent ones; no deaths, and a deadline of its own again."""
    await accept(store, stored_task(1))
    store.tasks.requeued(TaskId("t1"), attempt(1, outcome="lost"), deaths=2, spent=1, due_at=None)
    end = replace(ended(TaskStatus.QUARANTINED), attempts=1)
    await finish(store, "t1", end, ended=attempt(2, outcome="quarantined"), at=after(9))
    task = await store.dead.release(TaskId("t1"), after(900))
    assert task is not None
    assert (task.task_id, task.order, task.deaths, task.spent, task.number) == ("t1", 1, 0, 1, 2)
    assert task.deadline_at == after(900) + DEADLINE
    record = await store.tasks.get(TaskId("t1"))
    assert record is not None
    assert record == task.record
    assert (record.status, record.finished_at, record.failure, record.worker) == (
        TaskStatus.QUEUED, None, None, None,
    )  # fmt: skip
    assert [each.n for each in record.attempts] == [1, 2]
    assert await store.dead.release(TaskId("t1"), after(901)) is None
    assert await listed(store) == []
    assert await store.tasks.recover(after_order=0, limit=10) == [task]
    await finish(store, "t1", at=after(950))
    assert await store.tasks.count() == 0


@pytest.mark.parametrize("letter", ["t1", "t2", "msg_t3", "nobody"])
async def test_each_kind_has_its_own_way_back(store: Store, letter: str) -> None:
    """An order for another kind finds no letter, and leaves the one that is there."""
    await bury(store, 1)
    await bury(store, 2, status=TaskStatus.QUARANTINED)
    await bury_webhook(store, 3)
    before = await listed(store)
    done: list[object] = []
    if letter != "t1":
        done.append(await store.dead.replay_task(letter, renewal(9)))
    if letter != "t2":
        done.append(await store.dead.release(TaskId(letter), after(9)))
    if letter != "msg_t3":
        done.append(await store.dead.replay_webhook(letter, after(9)))
    assert set(done) == {None}
    assert await listed(store) == before
    assert await store.tasks.count() == 0


async def test_a_purged_letter_leaves_the_record_only(store: Store) -> None:
    """The input and the body are gone; a quarantined task has failed for good, for the reason it had."""
    await bury(store, 1)
    await bury(store, 2, status=TaskStatus.QUARANTINED)
    await bury_webhook(store, 3)
    assert await store.dead.purge(ALL, 10) == DeadCounts(task=1, webhook=1, quarantine=1)
    assert await listed(store) == []
    assert await store.tasks.input(TaskId("t2")) is None
    records = [await store.tasks.get(TaskId(f"t{number}")) for number in (1, 2, 3)]
    assert [record and record.status for record in records] == ["failed", "failed", "succeeded"]
    assert records[2] is not None
    assert records[2].webhook is not None
    assert records[2].webhook.status == "dead"
    assert await store.dead.release(TaskId("t2"), after(99)) is None
    assert await store.dead.purge(ALL, 10) == DeadCounts()


async def test_purging_is_bounded_and_begins_with_the_oldest(store: Store) -> None:
    """At most so many at once, of those that match."""
    for number in range(1, 7):
        await bury(store, number, function="f" if number % 2 else "g")
    assert (await store.dead.purge(DeadFilter(function="f"), 2)).total == 2
    assert await listed(store) == ["t6", "t5", "t4", "t2"]


async def test_a_task_is_kept_while_it_is_a_letter(store: Store) -> None:
    """The retention of results does not touch it; once the letter is gone, it does."""
    await bury(store, 1)
    await bury(store, 2, status=TaskStatus.QUARANTINED)
    await bury_webhook(store, 3)
    await accept(store, stored_task(4))
    await finish(store, "t4", at=after(4))
    assert await store.tasks.ended() == 1
    assert await store.tasks.prune(after(1000), 10) == 1
    assert await listed(store) == ["msg_t3", "t2", "t1"]
    await store.dead.purge(ALL, 10)
    assert await store.tasks.ended() == 3
    assert await store.tasks.prune(after(1000), 10) == 3
    assert await store.tasks.get(TaskId("t1")) is None


async def test_a_task_with_two_letters_is_kept_for_both(store: Store) -> None:
    """A task that failed and whose webhook could not be told is kept until both are dealt with."""
    await accept(store, stored_task(1))
    await finish(store, "t1", failed(), at=after(1), row=webhook("t1"))
    await committed(lambda done: store.outbox.dead("msg_t1", 4, after(2), "no", done))
    assert await listed(store) == ["msg_t1", "t1"]
    assert await store.dead.replay_task("t1", renewal(7)) is not None
    assert await store.tasks.prune(after(1000), 10) == 0
    assert await store.dead.replay_webhook("msg_t1", after(3)) is not None
    assert await store.tasks.prune(after(1000), 10) == 0  # its webhook is pending
    await committed(lambda done: store.outbox.delivered("msg_t1", after(4), done))
    assert await store.tasks.prune(after(1000), 10) == 1


async def test_an_outage_changes_no_letter(opener: StoreOpener, store: Store) -> None:
    """What could not be committed has not happened: the letter is there for another try."""
    await bury(store, 1)
    await bury(store, 2, status=TaskStatus.QUARANTINED)
    opener.begin_outage()
    with pytest.raises(Unavailable):
        await store.dead.replay_task("t1", renewal(7))
    with pytest.raises(Unavailable):
        await store.dead.release(TaskId("t2"), after(9))
    with pytest.raises(Unavailable):
        await store.dead.purge(ALL, 10)
    opener.end_outage()
    await store.close()
    reopened = await opener.open()
    assert await listed(reopened) == ["t2", "t1"]
    assert await reopened.dead.replay_task("t1", renewal(7)) is not None
    await reopened.close()
