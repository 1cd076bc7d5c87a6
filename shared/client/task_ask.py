"""The request that submits a task: its body, the headers that say how it is answered, its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.client.ask import Ask
from shared.client.task_body import encode_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.client.records import Json


def task_ask(
    task: Mapping[str, Json],
    headers: Mapping[str, str],
    *,
    limit_s: float | None = None,
    silence_s: float | None = None,
    may_be_taken: bool = False,
) -> Ask:
    """Return the request of a task; one that has an Idempotency-Key may be made again."""
    return Ask(
        method="POST",
        path="/task",
        body=encode_body(task),
        headers=headers,
        limit_s=limit_s,
        silence_s=silence_s,
        may_be_taken=may_be_taken,
        once="Idempotency-Key" in headers,
    )


def headers_of(
    correlation_id: str | None, idempotency_key: str | None = None, prefer: str | None = None
) -> dict[str, str]:
    """Return the headers of a task that are given."""
    given = {
        "x-correlation-id": correlation_id,
        "Idempotency-Key": idempotency_key,
        "Prefer": prefer,
    }
    return {name: value for name, value in given.items() if value is not None}


def async_preference(wait: float) -> str:
    """Return the preference for a 202, at once or after whole seconds."""
    return f"respond-async, wait={wait:.0f}" if wait >= 1 else "respond-async"
