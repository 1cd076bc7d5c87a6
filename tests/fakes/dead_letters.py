"""A store with dead letters of each kind, as an earlier balancer left it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from balancer.store.ports import OutboxRow, StoredTask
from balancer.store.sealing import Sealer
from balancer.store.sqlite import SqliteStore
from shared.errors import Failure, failure
from shared.ids import TaskId
from shared.system import SystemClock
from shared.task import Outcome, TaskRecord, TaskRequest, WebhookTarget
from shared.task_state import TaskStatus
from tests.fakes.in_process_worker import LB_KEY
from tests.fakes.stored_tasks import accept, attempt, committed, finish


class Grave(NamedTuple):
    """One dead letter to be made.

    Attributes:
        name: the task's id.
        function: of the group `default`.
        content: the input.
        status: how the task ended.
        hook: URL of the webhook, which is dead as well; the task has succeeded.
        age_s: seconds since it died.
    """

    name: str
    function: str = "hello"
    content: bytes = b'{"name":"Ada"}'
    status: TaskStatus = TaskStatus.FAILED
    hook: str | None = None
    age_s: float = 0.0


async def bury(database: Path, *graves: Grave) -> None:
    """Make dead letters in a database that nobody has open."""
    store = await SqliteStore.open(str(database), clock=SystemClock())
    now = SystemClock().utc_now()
    for order, grave in enumerate(graves, start=1):
        at = now - timedelta(seconds=grave.age_s)
        target = None if grave.hook is None else WebhookTarget(url=grave.hook)
        request = TaskRequest(
            function=grave.function, contract=1, group="default", input=grave.content, webhook=target,
            worker_key=Sealer(LB_KEY).seal("worker-secret"), deadline_s=600, metadata=b'{"who":"me"}',
        )  # fmt: skip
        record = TaskRecord(
            task_id=TaskId(grave.name), group="default", function=grave.function, contract=1,
            mode=request.mode, priority=1, status=TaskStatus.QUEUED, created_at=at,
            metadata=request.metadata,
        )  # fmt: skip
        task = StoredTask(
            task_id=record.task_id, request=request, created_at=at, order=order, record=record,
            deadline_at=at + timedelta(seconds=600),
        )  # fmt: skip
        await accept(store, task)
        if grave.hook is None:
            why = failure("quarantined") if grave.status is TaskStatus.QUARANTINED else BROKEN
            ended = attempt(1, outcome="failed", code=why.code)
            await finish(store, grave.name, Outcome(grave.status, failure=why), ended=ended, at=at)
            continue
        row = OutboxRow(
            webhook_id=f"msg_{grave.name}", task_id=record.task_id, url=grave.hook, headers=(),
            body=b'{"n":1}', outcome="succeeded", next_at=at,
        )  # fmt: skip
        await finish(store, grave.name, Outcome(TaskStatus.SUCCEEDED, b'{"n":1}'), at=at, row=row)
        await committed(
            lambda done, row=row, at=at: store.outbox.dead(row.webhook_id, 4, at, "HTTP 500", done)
        )
    await store.close()
    await asyncio.sleep(0)


BROKEN = Failure("function_error", "broken", error_type="ValueError")
