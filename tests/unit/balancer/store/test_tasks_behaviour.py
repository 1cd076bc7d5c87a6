"""What every store promises about tasks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balancer.store.ports import (
    INLINE_INPUT_LIMIT,
    MAX_ATTEMPTS_KEPT,
    Store,
    TaskFilter,
)
from shared.errors import CallerError, Unavailable
from shared.ids import TaskId
from shared.task import Outcome, TaskRecord
from shared.task_state import TERMINAL, TaskStatus
from tests.fakes.store_openers import StoreOpener
from tests.fakes.stored_tasks import (
    accept,
    after,
    attempt,
    committed,
    failed,
    finish,
    stored_task,
    succeeded,
    webhook,
)
from tests.fakes.waiting import wait_until

ALL = TaskFilter()


def ids(records: list[TaskRecord]) -> list[str]:
    """Return the ids of a page."""
    return [record.task_id for record in records]


async def found(store: Store, task_id: str) -> TaskRecord:
    """Return a task that must be there."""
    record = await store.tasks.get(TaskId(task_id))
    assert record is not None
    return record


async def test_an_accepted_task_is_shown_as_it_was_accepted(store: Store) -> None:
    """What was accepted can be read once done was called."""
    task = stored_task(1)
    await accept(store, task)
    assert await store.tasks.get(task.task_id) == task.record


async def test_an_unknown_task_is_none(store: Store) -> None:
    """A task that was never accepted is not there."""
    assert await store.tasks.get(TaskId("nobody")) is None
    assert await store.tasks.input(TaskId("nobody")) is None


async def test_done_is_called_later_on_the_loop_and_in_order(store: Store) -> None:
    """No done comes before its call has returned, and none overtakes another."""
    told: list[int] = []
    for number in range(1, 200):
        store.tasks.accept(stored_task(number), lambda _, number=number: told.append(number))
    assert told == []
    await wait_until(lambda: len(told) == 199, "every done was called")
    assert told == list(range(1, 200))


async def test_a_request_that_changes_after_accept_is_kept_as_it_was(store: Store) -> None:
    """The store takes its copy in the call: the engine may drop a large input at once."""
    task = stored_task(1)
    waiting = asyncio.ensure_future(accept(store, task))
    await asyncio.sleep(0)
    task.request.input = b""
    await waiting
    assert await store.tasks.input(task.task_id) == b'{"name":"Ada"}'


async def test_a_task_id_that_is_there_already_stays_as_it_was(store: Store) -> None:
    """An accept that is made again, because its first answer was lost, changes nothing."""
    await accept(store, stored_task(1), stored_task(1, content=b'{"other":1}', function="x"))
    assert await store.tasks.input(TaskId("t1")) == b'{"name":"Ada"}'
    assert (await found(store, "t1")).function == "hello"
    assert await store.tasks.count() == 1


async def test_an_attempt_is_shown_from_its_start_to_its_end(store: Store) -> None:
    """Started makes the task run on its worker; the end closes the attempt."""
    await accept(store, stored_task(1))
    store.tasks.started(TaskId("t1"), attempt(1))
    await accept(store, stored_task(2))
    running = await found(store, "t1")
    assert (running.status, running.worker) == (TaskStatus.RUNNING, "w1:3000")
    assert running.started_at == after(101)
    assert running.attempts == (attempt(1),)
    await finish(store, "t1", ended=attempt(1, outcome="succeeded"), at=after(300))
    ended = await found(store, "t1")
    assert (ended.status, ended.finished_at) == (TaskStatus.SUCCEEDED, after(300))
    assert ended.result == b'{"text":"Hello"}'
    assert ended.attempts == (attempt(1, outcome="succeeded"),)


async def test_a_requeued_task_waits_again_with_what_it_has_spent(store: Store) -> None:
    """Deaths, spent attempts and the history survive; started_at stays the first one's."""
    await accept(store, stored_task(1))
    store.tasks.started(TaskId("t1"), attempt(1))
    store.tasks.requeued(TaskId("t1"), attempt(1, outcome="lost"), deaths=1, spent=0, due_at=None)
    store.tasks.started(TaskId("t1"), attempt(2))
    ended = attempt(2, outcome="failed", code="function_error")
    store.tasks.requeued(TaskId("t1"), ended, deaths=1, spent=1, due_at=after(500))
    await accept(store, stored_task(2))
    [task, _] = await store.tasks.recover(after_order=0, limit=10)
    assert (task.deaths, task.spent, task.number, task.due_at) == (1, 1, 2, after(500))
    assert task.record.status is TaskStatus.SCHEDULED
    assert task.record.started_at == after(101)
    assert task.record.worker is None
    assert task.record.attempts == (attempt(1, outcome="lost"), ended)


async def test_requeued_without_a_date_is_queued(store: Store) -> None:
    """Only a date makes a task scheduled."""
    await accept(store, stored_task(1, status=TaskStatus.SCHEDULED, due_at=after(9)))
    store.tasks.requeued(TaskId("t1"), None, deaths=0, spent=0, due_at=None)
    await accept(store, stored_task(2))
    assert (await found(store, "t1")).status is TaskStatus.QUEUED


async def test_the_history_of_attempts_is_bounded(store: Store) -> None:
    """A task that is refused for ever keeps its latest attempts only."""
    await accept(store, stored_task(1))
    total = MAX_ATTEMPTS_KEPT + 5
    for n in range(1, total + 1):
        store.tasks.started(TaskId("t1"), attempt(n))
    await accept(store, stored_task(2))
    kept = [each.n for each in (await found(store, "t1")).attempts]
    assert kept == list(range(6, total + 1))


@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_a_task_ends_once(store: Store, status: TaskStatus) -> None:
    """An end after the end changes nothing, adds no webhook, and is done all the same."""
    await accept(store, stored_task(1))
    first = replace(failed(), status=status) if status is not TaskStatus.SUCCEEDED else succeeded()
    await finish(store, "t1", first, at=after(10))
    before = await found(store, "t1")
    await finish(store, "t1", Outcome(TaskStatus.CANCELLED), at=after(20), row=webhook("t1"))
    store.tasks.started(TaskId("t1"), attempt(9))
    store.tasks.requeued(TaskId("t1"), attempt(9), deaths=5, spent=5, due_at=after(30))
    await accept(store, stored_task(2))
    assert await found(store, "t1") == before
    assert before.status is status
    assert await store.outbox.due(after(1000), 10) == []


async def test_many_tasks_that_pass_by_at_once_all_arrive(store: Store) -> None:
    """Whatever is brought together on its way, each task ends with its own result and webhook."""
    numbers = range(1, 151)
    answers: list[object] = []
    for number in numbers:
        task_id = TaskId(f"t{number}")
        store.tasks.accept(stored_task(number), answers.append)
        if number % 3 == 0:
            store.tasks.started(task_id, attempt(1))
        if number % 5:
            end = attempt(1, outcome="succeeded") if number % 2 else None
            outcome = succeeded(b"%d" % number)
            row = webhook(task_id)
            store.tasks.finish(task_id, outcome, end, after(0), row, answers.append)
            store.tasks.finish(task_id, failed(), end, after(9), None, answers.append)
        if number % 5 == 1:
            store.outbox.delivered(f"msg_{task_id}", after(0), answers.append)
    await wait_until(lambda: len(answers) == 150 + 2 * 120 + 30, "all are committed")
    assert set(answers) == {None}
    for number in numbers:
        record = await found(store, f"t{number}")
        running = TaskStatus.RUNNING if number % 3 == 0 else TaskStatus.QUEUED
        assert record.status is (TaskStatus.SUCCEEDED if number % 5 else running)
        assert record.result == (b"%d" % number if number % 5 else None)
        assert len(record.attempts) == (number % 3 == 0 or bool(number % 2 and number % 5))
        delivered = "delivered" if number % 5 == 1 else "pending"
        state = record.webhook.status if record.webhook else None
        assert state == (delivered if number % 5 else None)
    assert [task.order for task in await store.tasks.recover(after_order=0, limit=99)] == [
        number for number in numbers if not number % 5
    ]


async def test_an_end_brings_the_beginning_of_its_attempt_along(store: Store) -> None:
    """A short attempt was never noted as started."""
    await accept(store, stored_task(1))
    await finish(store, "t1", ended=attempt(2, outcome="succeeded"))
    record = await found(store, "t1")
    assert record.started_at == attempt(2).started_at
    assert record.attempts == (attempt(2, outcome="succeeded"),)


async def test_a_failure_is_shown_with_its_details(store: Store) -> None:
    """Code, message and type survive."""
    await accept(store, stored_task(1))
    await finish(store, "t1", failed())
    record = await found(store, "t1")
    assert record.failure == failed().failure
    assert record.result is None


async def test_a_function_that_returned_nothing_has_no_result(store: Store) -> None:
    """None and the JSON text null are different results."""
    await accept(store, stored_task(1), stored_task(2))
    await finish(store, "t1", succeeded(None))
    await finish(store, "t2", succeeded(b"null"))
    assert (await found(store, "t1")).result is None
    assert (await found(store, "t2")).result == b"null"


async def test_the_end_of_an_unknown_task_is_done(store: Store) -> None:
    """A task that was pruned, or whose accept failed, cannot be ended and harms nobody."""
    await finish(store, "t404", row=webhook("t404"))
    assert await store.tasks.get(TaskId("t404")) is None
    assert await store.outbox.due(after(1000), 10) == []


async def test_the_input_is_forgotten_with_the_end_but_not_in_quarantine(store: Store) -> None:
    """A quarantined task may be released by an operator, so it keeps what it needs to run."""
    await accept(store, stored_task(1), stored_task(2))
    assert await store.tasks.input(TaskId("t1")) == b'{"name":"Ada"}'
    await finish(store, "t1")
    await finish(store, "t2", replace(failed(), status=TaskStatus.QUARANTINED))
    assert await store.tasks.input(TaskId("t1")) is None
    assert await store.tasks.input(TaskId("t2")) == b'{"name":"Ada"}'


async def test_recovery_returns_unfinished_tasks_whole_and_in_order(
    opener: StoreOpener, store: Store
) -> None:
    """After a restart every field is back, by growing order, whatever the order of acceptance."""
    tasks = [stored_task(1, order=30), stored_task(2, order=10), stored_task(3, order=20)]
    await accept(store, *tasks, stored_task(4, order=5))
    await finish(store, "t4")
    await store.close()
    reopened = await opener.open()
    assert await reopened.tasks.count() == 3
    assert await reopened.tasks.recover(after_order=0, limit=9) == [tasks[1], tasks[2], tasks[0]]
    assert await reopened.tasks.recover(after_order=20, limit=9) == [tasks[0]]
    await reopened.close()


async def test_recovery_by_pages_loses_no_tie(store: Store) -> None:
    """Tasks that share an order stay on one page, so the next page can begin after it."""
    orders = [1, 2, 2, 2, 3, 4, 4]
    await accept(store, *(stored_task(n, order=order) for n, order in enumerate(orders)))
    pages: list[list[str]] = []
    last = 0
    while page := await store.tasks.recover(after_order=last, limit=2):
        pages.append([task.task_id for task in page])
        last = page[-1].order
    assert pages == [["t0", "t1", "t2", "t3"], ["t4", "t5", "t6"]]


async def test_recovery_leaves_large_inputs_in_the_store(store: Store) -> None:
    """A backlog of large tasks does not fill the memory at start."""
    large = b'{"x":"' + b"y" * INLINE_INPUT_LIMIT + b'"}'
    exact = b" " * INLINE_INPUT_LIMIT
    await accept(store, stored_task(1, content=large), stored_task(2, content=exact))
    first, second = await store.tasks.recover(after_order=0, limit=10)
    assert (first.request.input, second.request.input) == (b"", exact)
    assert await store.tasks.input(TaskId("t1")) == large


async def test_the_listing_is_newest_first_without_results(store: Store) -> None:
    """Later accepted tasks come first; a listing carries no results."""
    await accept(store, *(stored_task(n) for n in range(1, 4)))
    await finish(store, "t2")
    page, following = await store.tasks.list(ALL, limit=10, cursor=None)
    assert ids(page) == ["t3", "t2", "t1"]
    assert following is None
    assert [record.result for record in page] == [None, None, None]


async def test_pages_are_stable_while_tasks_come_and_go(store: Store) -> None:
    """New tasks and forgotten ones neither repeat nor hide others on the next page."""
    await accept(store, *(stored_task(n) for n in range(1, 7)))
    page, following = await store.tasks.list(ALL, limit=2, cursor=None)
    assert ids(page) == ["t6", "t5"]
    await accept(store, stored_task(7))
    await finish(store, "t4", at=after(0))
    await store.tasks.prune(after(1), 10)
    rest, end = await store.tasks.list(ALL, limit=3, cursor=following)
    assert ids(rest) == ["t3", "t2", "t1"]
    assert end is None


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (TaskFilter(status="queued"), ["t3", "t2"]),
        (TaskFilter(status="succeeded"), ["t4", "t1"]),
        (TaskFilter(function="a"), ["t3", "t1"]),
        (TaskFilter(group="g2"), ["t4", "t3"]),
        (TaskFilter(group="g2", function="b", status="succeeded"), ["t4"]),
        (TaskFilter(function="nope"), []),
    ],
)
async def test_the_listing_is_narrowed_by_every_filter(
    store: Store, chosen: TaskFilter, expected: list[str]
) -> None:
    """Filters combine, and pages of one task each show the same as one page."""
    places = [(1, "a", "g1"), (2, "b", "g1"), (3, "a", "g2"), (4, "b", "g2")]
    await accept(store, *(stored_task(n, function=f, group=g) for n, f, g in places))
    await finish(store, "t1")
    await finish(store, "t4")
    page, _ = await store.tasks.list(chosen, limit=10, cursor=None)
    assert ids(page) == expected
    cursor, singly = None, list[str]()
    while True:
        one, cursor = await store.tasks.list(chosen, limit=1, cursor=cursor)
        singly += ids(one)
        if cursor is None:
            break
    assert singly == expected


@pytest.mark.parametrize("cursor", ["", "x", "!!", "dGFza3M6", "dGFza3M6LTE", "dGFza3M6MXgx", "ä"])
async def test_a_cursor_that_is_not_ours_is_the_callers_fault(store: Store, cursor: str) -> None:
    """A made-up cursor is refused with a code of the table, not ignored."""
    with pytest.raises(CallerError) as caught:
        await store.tasks.list(ALL, limit=1, cursor=cursor)
    assert caught.value.failure.code == "invalid_field"


async def test_pruning_forgets_old_ends_oldest_first(store: Store) -> None:
    """Tasks that finished before the moment go, within the limit; others stay."""
    await accept(store, *(stored_task(n) for n in range(1, 6)))
    for number, seconds in ((1, 30), (2, 10), (3, 20), (4, 100)):
        await finish(store, f"t{number}", ended=attempt(1, outcome="succeeded"), at=after(seconds))
    assert await store.tasks.prune(after(100), 2) == 2
    assert ids((await store.tasks.list(ALL, limit=9, cursor=None))[0]) == ["t5", "t4", "t1"]
    assert await store.tasks.prune(after(100), 2) == 1
    assert await store.tasks.prune(after(100), 2) == 0
    assert ids((await store.tasks.list(ALL, limit=9, cursor=None))[0]) == ["t5", "t4"]


async def test_pruning_spares_a_task_whose_webhook_is_pending(store: Store) -> None:
    """A task whose webhook waits is kept, and does not stand in the way of others."""
    await accept(store, stored_task(1), stored_task(2))
    await finish(store, "t1", at=after(1), row=webhook("t1"))
    await finish(store, "t2", at=after(2), row=webhook("t2"))
    await committed(lambda done: store.outbox.delivered("msg_t2", after(3), done))
    assert await store.tasks.prune(after(50), 1) == 1
    assert await store.tasks.get(TaskId("t2")) is None
    await committed(lambda done: store.outbox.delivered("msg_t1", after(4), done))
    assert await store.tasks.prune(after(50), 1) == 1
    assert await store.tasks.get(TaskId("t1")) is None


async def test_an_outage_fails_writes_and_ends_by_itself(opener: StoreOpener, store: Store) -> None:
    """Writes fail as a whole while the store is out; nothing of them is there afterwards."""
    await accept(store, stored_task(1))
    assert store.healthy
    opener.begin_outage()
    with pytest.raises(Unavailable):
        await accept(store, stored_task(2))
    assert not store.healthy
    with pytest.raises(Unavailable):
        await finish(store, "t1", row=webhook("t1"))
    assert (await found(store, "t1")).status is TaskStatus.QUEUED  # reads go on
    opener.end_outage()
    await wait_until(lambda: store.healthy, "the store has recovered")
    assert (await found(store, "t1")).status is TaskStatus.QUEUED
    assert await store.tasks.get(TaskId("t2")) is None
    await accept(store, stored_task(3))
    assert await store.tasks.count() == 2


async def test_a_closed_store_refuses_writes_and_reads(store: Store) -> None:
    """After close nothing is taken silently."""
    await accept(store, stored_task(1))
    await store.close()
    with pytest.raises(Unavailable):
        await accept(store, stored_task(2))
    with pytest.raises(Unavailable):
        await store.tasks.get(TaskId("t1"))


async def test_orders_survive_a_restart(opener: StoreOpener, store: Store) -> None:
    """A worker ordered into maintenance stays so until it is ordered back."""
    await store.orders.set_maintenance("b:1", True)
    await store.orders.set_maintenance("a:1", True)
    await store.orders.set_maintenance("a:1", True)
    await store.orders.set_maintenance("b:1", False)
    await store.close()
    reopened = await opener.open()
    assert await reopened.orders.maintenance() == frozenset({"a:1"})
    await reopened.close()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.binary(max_size=200),
    function=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
async def test_any_text_and_any_bytes_come_back(
    store: Store, content: bytes, function: str
) -> None:
    """Names and inputs are kept exactly, whatever signs are in them."""
    number = (await store.tasks.count()) + 1
    task = stored_task(number, function=function, content=content)
    await accept(store, task)
    [back] = await store.tasks.recover(after_order=number - 1, limit=1)
    assert back == task
