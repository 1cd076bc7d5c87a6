"""Values of the domain as they are kept in hashes, and back.

Times are whole microseconds since 1970 UTC. What never changes is packed (msgpack): `rec` is what
`GET /tasks` shows, `req` what only a task that may still run needs beside its input.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from balancer.store.ports import OutboxRow, StoredTask
from balancer.store.ports_dead import DeadWebhook
from balancer.store.redis.parts import lane_name
from shared.errors import Failure
from shared.ids import TaskId, Token
from shared.task import (
    AttemptRecord,
    Mode,
    Origin,
    TaskRecord,
    TaskRequest,
    WebhookState,
    WebhookTarget,
)
from shared.task_state import TaskStatus
from shared.webhooks import host_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.store.redis.writer import Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# In the order in which they are read; a row has the input and the webhook's state behind them.
SHOWN = ("rec", "st", "sta", "fin", "wkr", "att", "fail", "plc", "due")
WITH_RESULT = (*SHOWN, "res")
WHOLE = (*WITH_RESULT, "req", "ord", "dth", "spt", "num", "tok")


class _Record(msgspec.Struct, array_like=True):
    """What of a task's record never changes; new fields go to the end."""

    group: str
    function: str
    contract: int
    mode: str
    origin: str
    priority: float
    correlation_id: str
    created_at: int
    deadline_at: int | None
    metadata: bytes | None
    replay_of: str | None = None


class _Request(msgspec.Struct, array_like=True):
    """What of a request only a task needs that may still run; new fields go to the end."""

    timeout_s: float | None
    deadline_s: float | None
    max_attempts: int | None
    webhook: tuple[str, tuple[tuple[str, str], ...], bool] | None
    worker_key: str | None  # sealed
    retry_on: tuple[str, ...] | None


class _Hook(msgspec.Struct, array_like=True):
    """What of a webhook never changes; new fields go to the end."""

    task_id: str
    url: str
    headers: tuple[tuple[str, str], ...]
    outcome: str
    correlation_id: str


class _Attempt(msgspec.Struct, array_like=True):
    """An attempt as the scripts know it: "" stands for what is absent."""

    token: str
    n: int
    worker: str
    started_at: int
    finished_at: int | str
    outcome: str
    code: str


_pack = msgspec.msgpack.Encoder().encode
_records = msgspec.msgpack.Decoder(_Record)
_requests = msgspec.msgpack.Decoder(_Request)
_hooks = msgspec.msgpack.Decoder(_Hook)
_attempts = msgspec.msgpack.Decoder(list[_Attempt])
_failures = msgspec.json.Decoder(Failure)
_to_json = msgspec.json.Encoder().encode


def micros(at: datetime) -> int:
    """Return a moment as whole microseconds since 1970 UTC."""
    return (at - _EPOCH) // _MICROSECOND


def moment(value: int | bytes) -> datetime:
    """Return the moment that `micros` was given."""
    return _EPOCH + timedelta(microseconds=int(value))


def micros_or_empty(at: datetime | None) -> int | str:
    """Return a moment that may be absent."""
    return "" if at is None else micros(at)


def _moment_or_none(value: bytes | None) -> datetime | None:
    return None if value is None else moment(value)


def task_values(task: StoredTask) -> tuple[Value, ...]:
    """Return what `accept` needs beside the id."""
    record = task.record
    request = task.request
    webhook = request.webhook
    wanted = _Request(
        request.timeout_s,
        request.deadline_s,
        request.max_attempts,
        None if webhook is None else (webhook.url, webhook.headers, webhook.envelope),
        request.worker_key,
        request.retry_on,
    )
    return (
        task.order,
        repr(float(record.priority)),
        lane_name((record.group, record.contract, record.function)),
        record_value(record, task.deadline_at),
        _pack(wanted),
        task.request.input,
        record.status.value,
        micros_or_empty(task.due_at),
        task.deaths,
        task.spent,
        task.number,
    )


def record_value(record: TaskRecord, deadline_at: datetime | None) -> bytes:
    """Return what of a record never changes."""
    kept = _Record(
        record.group,
        record.function,
        record.contract,
        record.mode.value,
        record.origin.value,
        record.priority,
        record.correlation_id,
        micros(record.created_at),
        None if deadline_at is None else micros(deadline_at),
        record.metadata,
        record.replay_of,
    )
    return _pack(kept)


def attempt_value(attempt: AttemptRecord | None) -> bytes:
    """Return an attempt, or b"" for none."""
    if attempt is None:
        return b""
    kept = _Attempt(
        attempt.token,
        attempt.n,
        attempt.worker,
        micros(attempt.started_at),
        micros_or_empty(attempt.finished_at),
        attempt.outcome or "",
        attempt.code or "",
    )
    return _pack(kept)


def failure_value(failure: Failure | None) -> bytes:
    """Return a failure, or b"" for none."""
    return b"" if failure is None else _to_json(failure)


def hook_values(row: OutboxRow | None) -> tuple[Value, ...]:
    """Return what `finish` needs of a webhook."""
    if row is None:
        return ("", "", "", "", "", "", "")
    kept = _Hook(row.task_id, row.url, row.headers, row.outcome, row.correlation_id)
    size = len(row.body)
    return (
        row.webhook_id,
        row.host,
        micros(row.next_at),
        size,
        _pack(kept),
        row.body,
        row.attempts,
    )


def record_of(task_id: str, row: Sequence[bytes | None]) -> TaskRecord:
    """Return a record from a row whose fields begin with SHOWN or WITH_RESULT."""
    kept, status, started, finished, worker, attempts, failure, _, due = row[: len(SHOWN)]
    result = row[len(SHOWN)] if len(row) > len(SHOWN) + len(_BEHIND) else None
    assert kept is not None
    assert status is not None
    static = _records.decode(kept)
    return TaskRecord(
        task_id=TaskId(task_id),
        group=static.group,
        function=static.function,
        contract=static.contract,
        mode=Mode(static.mode),
        priority=static.priority,
        status=TaskStatus(status.decode()),
        created_at=moment(static.created_at),
        started_at=_moment_or_none(started),
        finished_at=_moment_or_none(finished),
        attempts=_attempts_of(attempts),
        worker=None if worker is None else worker.decode(),
        result=result,
        failure=None if failure is None else _failures.decode(failure),
        metadata=static.metadata,
        webhook=_webhook_of(row[-3], row[-2], row[-1]),
        correlation_id=static.correlation_id,
        origin=Origin(static.origin),
        due_at=_moment_or_none(due),
        replay_of=None if static.replay_of is None else TaskId(static.replay_of),
    )


_BEHIND = ("input", "webhook status", "webhook tries", "webhook next try")


def _webhook_of(
    status: bytes | None, tries: bytes | None, next_at: bytes | None
) -> WebhookState | None:
    if status is None:
        return None
    return WebhookState(
        status=status.decode(), attempts=int(tries or 0), next_at=_moment_or_none(next_at)
    )


def _attempts_of(packed: bytes | None) -> tuple[AttemptRecord, ...]:
    if packed is None:
        return ()
    found = [
        AttemptRecord(
            n=each.n,
            worker=each.worker,
            token=Token(each.token),
            started_at=moment(each.started_at),
            finished_at=None if isinstance(each.finished_at, str) else moment(each.finished_at),
            outcome=each.outcome or None,
            code=each.code or None,
        )
        for each in _attempts.decode(packed)
    ]
    return tuple(sorted(found, key=lambda each: (each.n, each.started_at, each.token)))


def stored_of(task_id: str, row: Sequence[bytes | None]) -> StoredTask:
    """Return a task from a row with WHOLE."""
    kept, packed = row[0], row[len(WITH_RESULT)]
    order, deaths, spent, number = row[len(WITH_RESULT) + 1 : len(WITH_RESULT) + 5]
    assert kept is not None
    assert packed is not None
    static = _records.decode(kept)
    wanted = _requests.decode(packed)
    record = record_of(task_id, (*row[: len(WITH_RESULT)], None, None, None, None))
    request = TaskRequest(
        function=record.function,
        contract=record.contract,
        group=record.group,
        input=row[len(WHOLE)] or b"",
        priority=record.priority,
        mode=record.mode,
        webhook=None if wanted.webhook is None else _target_of(*wanted.webhook),
        timeout_s=wanted.timeout_s,
        deadline_s=wanted.deadline_s,
        max_attempts=wanted.max_attempts,
        metadata=record.metadata,
        correlation_id=record.correlation_id,
        worker_key=wanted.worker_key,
        retry_on=wanted.retry_on,
        origin=record.origin,
    )
    return StoredTask(
        task_id=record.task_id,
        request=request,
        created_at=record.created_at,
        deadline_at=None if static.deadline_at is None else moment(static.deadline_at),
        due_at=_moment_or_none(row[SHOWN.index("due")]),
        order=int(order or 0),
        deaths=int(deaths or 0),
        spent=int(spent or 0),
        number=int(number or 0),
        record=record,
    )


def _target_of(url: str, headers: tuple[tuple[str, str], ...], envelope: bool) -> WebhookTarget:
    return WebhookTarget(url=url, headers=headers, envelope=envelope)


def dead_webhook_of(packed: bytes, tries: bytes | None, error: bytes | None) -> DeadWebhook:
    """Return the webhook of a letter."""
    kept = _hooks.decode(packed)
    return DeadWebhook(
        host=host_of(kept.url),
        attempts=int(tries or 0),
        error="" if error is None else error.decode("utf-8", "replace"),
        outcome=kept.outcome,
    )


def outbox_row_of(webhook_id: str, row: Sequence[bytes | None]) -> OutboxRow:
    """Return a webhook from a row of `hooks.lua`."""
    packed, body, tries, next_at = row[:4]
    assert packed is not None
    assert next_at is not None
    kept = _hooks.decode(packed)
    return OutboxRow(
        webhook_id=webhook_id,
        task_id=TaskId(kept.task_id),
        url=kept.url,
        headers=kept.headers,
        body=body or b"",
        outcome=kept.outcome,
        attempts=int(tries or 0),
        next_at=moment(next_at),
        correlation_id=kept.correlation_id,
    )
