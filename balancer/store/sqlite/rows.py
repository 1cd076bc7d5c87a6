"""Values of the domain as rows, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from balancer.store.ports import OutboxRow, StoredTask
from shared.dead_letter import dead_kind
from shared.errors import Failure
from shared.ids import TaskId, Token
from shared.task import (
    AttemptRecord,
    Mode,
    Origin,
    Outcome,
    TaskRecord,
    TaskRequest,
    WebhookState,
    WebhookTarget,
)
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from balancer.store.sqlite.writer import Values

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

TASK_COLUMNS = (
    "task_id, grp, function, contract, mode, origin, priority, correlation_id, status, ord, deaths, spent,"
    " number, created_at, deadline_at, due_at, started_at, finished_at, worker, failure, metadata, result"
)
REQUEST_COLUMNS = "timeout_s, deadline_s, max_attempts, webhook, worker_key, input, retry_on"
ATTEMPT_COLUMNS = "token, n, worker, started_at, finished_at, outcome, code"
OUTBOX_COLUMNS = "webhook_id, status, attempts, next_at, host, size, url, headers, outcome, correlation_id, error, body"

# Of `tasks AS t JOIN requests AS r`: all that `stored_of` reads; inputs up to `:inline` bytes.
STORED_COLUMNS = (
    "t.*, r.timeout_s, r.deadline_s, r.max_attempts, r.webhook, r.worker_key, r.retry_on,"
    " CASE WHEN length(r.input) <= :inline THEN r.input ELSE x'' END AS input,"
    " NULL AS webhook_status, NULL AS webhook_attempts, NULL AS webhook_next_at"
)

_failures = msgspec.json.Decoder(Failure)
_targets = msgspec.json.Decoder(WebhookTarget)
_headers = msgspec.json.Decoder(tuple[tuple[str, str], ...])
_codes = msgspec.json.Decoder(tuple[str, ...])
to_json = msgspec.json.encode


def micros(at: datetime) -> int:
    """Return a moment as whole microseconds since 1970 UTC."""
    return (at - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the moment that `micros` was given."""
    return _EPOCH + timedelta(microseconds=value)


def micros_or_none(at: datetime | None) -> int | None:
    """Return a moment that may be absent."""
    return None if at is None else micros(at)


def _moment_or_none(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


def failure_json(failure: Failure | None) -> bytes | None:
    """Return a failure as it is kept."""
    return None if failure is None else to_json(failure)


def task_values(task: StoredTask) -> Values:
    """Return the columns of TASK_COLUMNS."""
    record = task.record
    return (
        task.task_id,
        record.group,
        record.function,
        record.contract,
        record.mode.value,
        record.origin.value,
        record.priority,
        record.correlation_id,
        record.status.value,
        task.order,
        task.deaths,
        task.spent,
        task.number,
        micros(task.created_at),
        micros_or_none(task.deadline_at),
        micros_or_none(task.due_at),
        micros_or_none(record.started_at),
        micros_or_none(record.finished_at),
        record.worker,
        failure_json(record.failure),
        record.metadata,
        record.result,
    )


def request_values(request: TaskRequest) -> Values:
    """Return the columns of REQUEST_COLUMNS."""
    return (
        request.timeout_s,
        request.deadline_s,
        request.max_attempts,
        None if request.webhook is None else to_json(request.webhook),
        request.worker_key,
        request.input,
        None if request.retry_on is None else to_json(request.retry_on),
    )


def letter_values(outcome: Outcome, died_at: datetime) -> Values | None:
    """Return kind, code and moment of the dead letter that an end makes; None when it makes none."""
    kind = dead_kind(outcome.status)
    if kind is None:
        return None
    code = outcome.status.value if outcome.failure is None else outcome.failure.code
    return (kind.value, code, micros(died_at))


def attempt_values(attempt: AttemptRecord) -> Values:
    """Return the columns of ATTEMPT_COLUMNS."""
    return (
        attempt.token,
        attempt.n,
        attempt.worker,
        micros(attempt.started_at),
        micros_or_none(attempt.finished_at),
        attempt.outcome,
        attempt.code,
    )


def outbox_values(row: OutboxRow) -> Values:
    """Return the columns of OUTBOX_COLUMNS for a webhook that is yet to be sent."""
    return (
        row.webhook_id,
        "pending",
        row.attempts,
        micros(row.next_at),
        row.host,
        len(row.body),
        row.url,
        to_json(row.headers),
        row.outcome,
        row.correlation_id,
        "",
        row.body,
    )


def attempt_of(row: sqlite3.Row) -> AttemptRecord:
    """Return an attempt of a row with ATTEMPT_COLUMNS."""
    return AttemptRecord(
        n=row["n"],
        worker=row["worker"],
        token=Token(row["token"]),
        started_at=moment(row["started_at"]),
        finished_at=_moment_or_none(row["finished_at"]),
        outcome=row["outcome"],
        code=row["code"],
    )


def record_of(row: sqlite3.Row, attempts: Sequence[AttemptRecord]) -> TaskRecord:
    """Return a record of a row with TASK_COLUMNS and the columns of its webhook."""
    return TaskRecord(
        task_id=TaskId(row["task_id"]),
        group=row["grp"],
        function=row["function"],
        contract=row["contract"],
        mode=Mode(row["mode"]),
        priority=row["priority"],
        status=TaskStatus(row["status"]),
        created_at=moment(row["created_at"]),
        started_at=_moment_or_none(row["started_at"]),
        finished_at=_moment_or_none(row["finished_at"]),
        attempts=tuple(attempts),
        worker=row["worker"],
        result=row["result"],
        failure=None if row["failure"] is None else _failures.decode(row["failure"]),
        metadata=row["metadata"],
        webhook=_webhook_of(row),
        correlation_id=row["correlation_id"],
        origin=Origin(row["origin"]),
        due_at=_moment_or_none(row["due_at"]),
        replay_of=row["replay_of"],
    )


def _webhook_of(row: sqlite3.Row) -> WebhookState | None:
    if row["webhook_status"] is None:
        return None
    return WebhookState(
        status=row["webhook_status"],
        attempts=row["webhook_attempts"],
        next_at=_moment_or_none(row["webhook_next_at"]),
    )


def stored_of(row: sqlite3.Row, attempts: Iterable[AttemptRecord]) -> StoredTask:
    """Return a task of a row with the columns of its record and REQUEST_COLUMNS."""
    record = record_of(row, tuple(attempts))
    request = TaskRequest(
        function=record.function,
        contract=record.contract,
        group=record.group,
        input=row["input"],
        priority=record.priority,
        mode=record.mode,
        webhook=None if row["webhook"] is None else _targets.decode(row["webhook"]),
        timeout_s=row["timeout_s"],
        deadline_s=row["deadline_s"],
        max_attempts=row["max_attempts"],
        metadata=record.metadata,
        correlation_id=record.correlation_id,
        worker_key=row["worker_key"],
        retry_on=None if row["retry_on"] is None else _codes.decode(row["retry_on"]),
        origin=record.origin,
    )
    return StoredTask(
        task_id=record.task_id,
        request=request,
        created_at=record.created_at,
        deadline_at=_moment_or_none(row["deadline_at"]),
        due_at=_moment_or_none(row["due_at"]),
        order=row["ord"],
        deaths=row["deaths"],
        spent=row["spent"],
        number=row["number"],
        record=record,
    )


def outbox_row_of(row: sqlite3.Row) -> OutboxRow:
    """Return a webhook of a row with OUTBOX_COLUMNS and the id of its task."""
    return OutboxRow(
        webhook_id=row["webhook_id"],
        task_id=TaskId(row["task_id"]),
        url=row["url"],
        headers=_headers.decode(row["headers"]),
        body=row["body"],
        outcome=row["outcome"],
        attempts=row["attempts"],
        next_at=moment(row["next_at"]),
        correlation_id=row["correlation_id"],
    )
