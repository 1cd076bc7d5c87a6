"""Attempts that their workers did not begin leave nothing in the store."""

from __future__ import annotations

from balancer.store.ports import REFUSED, Store
from shared.ids import TaskId
from shared.task_state import TaskStatus
from tests.fakes.stored_tasks import accept, attempt, stored_task


async def test_a_refused_attempt_is_forgotten(store: Store) -> None:
    """A task that is refused for ever does not grow: its number stays, and so does its record."""
    await accept(store, stored_task(1))
    store.tasks.started(TaskId("t1"), attempt(1))
    store.tasks.requeued(TaskId("t1"), attempt(1, outcome="lost"), deaths=1, spent=0, due_at=None)
    store.tasks.started(TaskId("t1"), attempt(2))
    refused = attempt(2, outcome=REFUSED, code="no_slot")
    store.tasks.requeued(TaskId("t1"), refused, deaths=1, spent=0, due_at=None)
    await accept(store, stored_task(2))
    record = await store.tasks.get(TaskId("t1"))
    assert record is not None
    assert record.status is TaskStatus.QUEUED
    assert [each.outcome for each in record.attempts] == ["lost"]
