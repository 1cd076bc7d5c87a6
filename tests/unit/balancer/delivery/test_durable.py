"""Durable tasks on their way into the store: what counts as unfinished."""

from __future__ import annotations

import asyncio

import pytest

from balancer.core.live_task import LiveTask
from balancer.delivery.durable import DurableTasks
from balancer.delivery.journal import Journal
from balancer.store.memory import MemoryStore
from balancer.store.ports import OutboxRow
from balancer.store.sealing import Sealer
from shared.errors import Failure
from shared.ids import TaskId
from shared.log import TaskLog
from shared.log_ring import LogRing
from shared.task import Mode, Outcome, TaskRequest, WebhookTarget
from shared.task_state import TaskStatus
from tests.fakes.manual_clock import ManualClock
from tests.fakes.scheduler_rig import Sink


def _durables(accepted: list[LiveTask], max_durable: int = 10) -> DurableTasks:
    clock = ManualClock()
    store = MemoryStore(asyncio.get_running_loop().call_soon)
    journal = Journal(clock, TaskLog(LogRing(clock)))
    return DurableTasks(store, journal, Sealer("key"), max_durable, accepted.append)


def _task(name: str, worker_key: str | None = None) -> LiveTask:
    request = TaskRequest(function="f", contract=1, mode=Mode.WEBHOOK, worker_key=worker_key)
    return LiveTask(TaskId(name), ("g", 1, "f"), request, Sink(), created_s=0.0, durable=True)


async def test_a_task_counts_from_its_acceptance_and_is_bounded() -> None:
    """MAX_DURABLE is a bound on what is unfinished."""
    accepted: list[LiveTask] = []
    durables = _durables(accepted, max_durable=1)
    assert await durables.accept(_task("a", "secret")) is None
    assert [task.id for task in accepted] == ["a"]
    assert durables.unfinished == 1
    refused = await durables.accept(_task("b"))
    assert isinstance(refused, Failure)
    assert (refused.code, refused.retry_after_s) == ("queue_full", 5)


async def test_a_webhook_is_handed_over_once_its_row_is_committed() -> None:
    """Not before: a webhook that nobody remembers must not go out."""
    clock = ManualClock()
    store = MemoryStore(asyncio.get_running_loop().call_soon)
    journal = Journal(clock, TaskLog(LogRing(clock)))
    durables = DurableTasks(store, journal, Sealer("key"), 10, lambda _: None)
    fresh: list[OutboxRow] = []
    store.outbox.fresh = fresh.append
    task = _task("a")
    task.request.webhook = WebhookTarget(url="http://hooks.test/")
    assert await durables.accept(task) is None
    durables.finish(task, Outcome(TaskStatus.SUCCEEDED, b"1"), 2.0, lambda: None)
    assert fresh == []
    assert await durables.settled(task.id)
    assert [(row.webhook_id, row.body) for row in fresh] == [("msg_a", b"1")]


async def test_a_task_that_cannot_be_written_down_does_not_count() -> None:
    """Or failed attempts would fill the bound for ever."""
    durables = _durables([])
    with pytest.raises(UnicodeEncodeError):
        await durables.accept(_task("a", "\udcff"))
    assert durables.unfinished == 0


async def test_whoever_is_told_of_an_end_and_breaks_holds_nothing_up() -> None:
    """The webhook goes out, and who waits for the end is told."""
    clock = ManualClock()
    asyncio.get_running_loop().set_exception_handler(lambda _, __: None)
    store = MemoryStore(asyncio.get_running_loop().call_soon)
    journal = Journal(clock, TaskLog(LogRing(clock)))
    durables = DurableTasks(store, journal, Sealer("key"), 10, lambda _: None)
    fresh: list[OutboxRow] = []

    def broken() -> None:
        raise ZeroDivisionError

    store.outbox.fresh = fresh.append
    task = _task("a")
    task.request.webhook = WebhookTarget(url="http://hooks.test/")
    assert await durables.accept(task) is None
    durables.finish(task, Outcome(TaskStatus.SUCCEEDED, b"1"), 2.0, broken)
    async with asyncio.timeout(2):
        assert await durables.settled(task.id)
    assert [row.webhook_id for row in fresh] == ["msg_a"]
