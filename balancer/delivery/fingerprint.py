"""What a request asks for, as one short text: equal for payloads that mean the same.

Objects may have their members in any order and any white space, and 1 and 1.0 are one number. What does
not change what is done is left out: how the caller wants to be answered, keys, correlation ids.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from shared.task import TaskRequest

MAX_DIGITS = 4000  # Python reads no longer integers; two of them are the same when their texts are


def fingerprint(request: TaskRequest) -> str:
    """Return the fingerprint of a request as its caller made it, before anything was filled in."""
    webhook = request.webhook
    asked: list[object] = [
        request.function,
        request.contract,
        request.group,
        request.mode.value,
        _plain(float(request.priority)),
        _meaning(request.input),
        None if request.metadata is None else _meaning(request.metadata),
        webhook and [webhook.url, webhook.headers, webhook.envelope],
        request.timeout_s,
        request.deadline_s,
        request.max_attempts,
        request.delay_s,
        request.run_at and request.run_at.timestamp(),
        request.retry_on and sorted(set(request.retry_on)),
    ]
    return hashlib.sha256(json.dumps(asked, separators=(",", ":")).encode()).hexdigest()


def _meaning(text: bytes) -> str:
    """Return JSON text in the one form of its meaning; text that is too odd as it is."""
    try:
        value = cast("object", json.loads(text, parse_int=_integer, parse_float=_decimal))
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text.decode("utf-8", "replace")


def _integer(text: str) -> object:
    return int(text) if len(text) <= MAX_DIGITS else {"number": text}


def _decimal(text: str) -> object:
    value = float(text)
    return {"number": text} if math.isinf(value) else _plain(value)


def _plain(value: float) -> float:
    return int(value) if value.is_integer() else value
