"""Durable tasks as the engine hands them to a store, and calls that wait until a write is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from msgspec import structs

from balancer.store.ports import OutboxRow, Store, StoredTask
from balancer.store.redis.parts import shared_task_id
from shared.errors import Failure, Unavailable
from shared.ids import PoolKey, TaskId, Token
from shared.task import (
    AttemptRecord,
    Mode,
    Outcome,
    TaskRecord,
    TaskRequest,
    WebhookTarget,
)
from shared.task_state import TaskStatus

T0 = datetime(2030, 1, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    """Return a moment of the test."""
    return T0 + timedelta(seconds=seconds)


def stored_task(
    number: int,
    *,
    function: str = "hello",
    group: str = "default",
    content: bytes = b'{"name":"Ada"}',
    order: int | None = None,
    status: TaskStatus = TaskStatus.QUEUED,
    due_at: datetime | None = None,
) -> StoredTask:
    """Return a task `t<number>` that uses every field."""
    task_id = TaskId(f"t{number}")
    request = TaskRequest(
        function=function,
        contract=2,
        group=group,
        input=content,
        priority=3.5,
        mode=Mode.WEBHOOK,
        webhook=WebhookTarget(url="http://hooks.test/x", headers=(("x-a", "1"),), envelope=True),
        timeout_s=7.5,
        deadline_s=60,
        max_attempts=4,
        metadata=b'{"who":"me"}',
        correlation_id=f"c{number}",
        worker_key="sealed",
    )
    record = TaskRecord(
        task_id=task_id,
        group=group,
        function=function,
        contract=2,
        mode=Mode.WEBHOOK,
        priority=3.5,
        status=status,
        created_at=after(number),
        metadata=request.metadata,
        correlation_id=request.correlation_id,
    )
    return StoredTask(
        task_id=task_id,
        request=request,
        created_at=after(number),
        deadline_at=after(number + 60),
        due_at=due_at,
        order=number if order is None else order,
        record=record,
    )


def shared_task(
    number: int, *, pool: PoolKey = ("default", 1), function: str = "hello", priority: float = 1.0
) -> StoredTask:
    """Return a task of a pool whose id says in which part of a shared store it is."""
    task = stored_task(number, function=function, group=pool[0])
    task_id = shared_task_id(f"t{number}", pool)
    request = structs.replace(task.request, contract=pool[1], priority=priority)
    record = replace(task.record, task_id=task_id, contract=pool[1], priority=priority)
    return replace(task, task_id=task_id, request=request, record=record)


def attempt(n: int, *, outcome: str | None = None, code: str | None = None) -> AttemptRecord:
    """Return the n-th attempt; begun, or ended when an outcome is given."""
    return AttemptRecord(
        n=n,
        worker=f"w{n}:3000",
        token=Token(f"boot-{n:x}"),
        started_at=after(100 + n),
        finished_at=None if outcome is None else after(200 + n),
        outcome=outcome,
        code=code,
    )


def succeeded(result: bytes | None = b'{"text":"Hello"}') -> Outcome:
    """Return a success."""
    return Outcome(TaskStatus.SUCCEEDED, result=result, attempts=1)


def failed() -> Outcome:
    """Return a failure of the function."""
    problem = Failure("function_error", "broken", error_type="ValueError")
    return Outcome(TaskStatus.FAILED, failure=problem, attempts=2)


def webhook(
    task_id: str,
    *,
    url: str = "http://hooks.test/x",
    next_at: datetime = T0,
    body: bytes = b'{"text":"Hello"}',
) -> OutboxRow:
    """Return the webhook `msg_<task>` of a task."""
    return OutboxRow(
        webhook_id=f"msg_{task_id}",
        task_id=TaskId(task_id),
        url=url,
        headers=(("x-a", "1"),),
        body=body,
        outcome="succeeded",
        next_at=next_at,
        correlation_id="c",
    )


async def committed(write: Callable[[Callable[[Unavailable | None], None]], None]) -> None:
    """Make a write and wait for its `done`; raise what it was given."""
    settled: asyncio.Future[Unavailable | None] = asyncio.get_running_loop().create_future()
    write(settled.set_result)
    error = await settled
    if error is not None:
        raise error


async def accept(store: Store, *tasks: StoredTask) -> None:
    """Accept tasks one after another, durably."""
    for task in tasks:
        await committed(lambda done, task=task: store.tasks.accept(task, done))


async def finish(
    store: Store,
    task_id: str,
    outcome: Outcome | None = None,
    *,
    ended: AttemptRecord | None = None,
    at: datetime = T0,
    row: OutboxRow | None = None,
) -> None:
    """End a task, durably."""
    end = outcome or succeeded()
    await committed(lambda done: store.tasks.finish(TaskId(task_id), end, ended, at, row, done))
