"""What the API shows: records as JSON values (contract §5). JSON text inside is spliced, not decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

    from shared.task import AttemptRecord, TaskRecord


def task_view(record: TaskRecord, *, whole: bool = True) -> dict[str, object]:
    """Return a task as `GET /tasks/{id}` shows it; without its result in lists."""
    shown: dict[str, object] = {
        "task_id": record.task_id,
        "group": record.group,
        "function": record.function,
        "contract": record.contract,
        "mode": record.mode.value,
        "priority": _number(record.priority),
        "status": record.status.value,
        "created_at": timestamp(record.created_at),
        "started_at": timestamp(record.started_at),
        "finished_at": timestamp(record.finished_at),
        "attempts": [_attempt_view(attempt) for attempt in record.attempts],
        "worker": record.worker,
        "metadata": None if record.metadata is None else msgspec.Raw(record.metadata),
        "origin": record.origin.value,
        "correlation_id": record.correlation_id,
    }
    if record.replay_of is not None:
        shown["replay_of"] = record.replay_of
    if record.due_at is not None:
        shown["due_at"] = timestamp(record.due_at)
    if whole and record.result is not None:
        shown["result"] = msgspec.Raw(record.result)
    if record.failure is not None:
        shown |= {"error": record.failure.message, "code": record.failure.code}
        if record.failure.details:
            shown["details"] = list(record.failure.details)
    if record.webhook is not None:
        shown["webhook"] = {
            "status": record.webhook.status,
            "attempts": record.webhook.attempts,
            "next_at": timestamp(record.webhook.next_at),
        }
    return shown


def _attempt_view(attempt: AttemptRecord) -> dict[str, object]:
    shown: dict[str, object] = {
        "n": attempt.n,
        "worker": attempt.worker,
        "started_at": timestamp(attempt.started_at),
        "finished_at": timestamp(attempt.finished_at),
        "outcome": attempt.outcome,
    }
    if attempt.code is not None:
        shown["code"] = attempt.code
    return shown


def timestamp(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with milliseconds and a Z."""
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(value: float) -> float:
    return int(value) if value == int(value) else value
