"""What the HTTP answer of a plain worker means (contract §2, and Andera's statuses for the same)."""

from __future__ import annotations

import json
from typing import cast

import msgspec

from shared.errors import CODES, Failure, ParamProblem
from shared.task import Outcome
from shared.task_state import TaskStatus

MAX_TEXT = 16 * 1024  # characters of an error that are passed on

_CODE_OF_STATUS = {
    400: "bad_request",
    401: "worker_unreachable",  # it did not take our key; the caller's key is fine
    403: "worker_unreachable",
    404: "function_not_found",
    413: "body_too_large",
    429: "queue_full",
    502: "worker_lost",
    503: "maintenance",
    504: "timeout",
}


class _Reply(msgspec.Struct):
    success: bool = False
    result: msgspec.Raw = msgspec.Raw(b"")
    error: str | None = None


def outcome_of_reply(status: int, raw: bytes, *, stream: bool = False) -> Outcome:
    """Return the outcome that an answer means.

    Args:
        status: HTTP status.
        raw: the body.
        stream: a stream was asked for, so a JSON answer with an error is a refusal whatever the status.
    """
    try:
        reply = msgspec.json.decode(raw, type=_Reply)
    except (msgspec.DecodeError, msgspec.ValidationError):
        reply = None
    if status == 200 and reply is not None and reply.error is None and (reply.success or stream):
        return Outcome(TaskStatus.SUCCEEDED, bytes(reply.result) or None)
    return _failed(400 if stream and status == 200 else status, raw)


def _failed(status: int, raw: bytes) -> Outcome:
    body = _object(raw)
    code = body.get("code")
    if not isinstance(code, str) or code not in CODES or status in (401, 403):
        code = _CODE_OF_STATUS.get(status, "function_error")
    text = body.get("error")
    message = text[:MAX_TEXT] if isinstance(text, str) and text else f"Worker answered {status}"
    if code == "worker_unreachable":  # a bare "Unauthorized" would blame the caller's own key
        message = f"Worker refused the key it was given: {message}"
    if message == "Timeout" and status == 500:  # Andera's way to say 504
        code = "timeout"
    kind = body.get("error_type")
    failed = Failure(
        code, message, problems_of(body.get("details")), kind if isinstance(kind, str) else None
    )
    ended = TaskStatus.TIMED_OUT if code == "timeout" else TaskStatus.FAILED
    return Outcome(ended, None, failed)


def _object(raw: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(raw)
    except ValueError:
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def problems_of(items: object) -> tuple[ParamProblem, ...]:
    """Return the parameter problems of a failure; what is malformed is left out."""
    found: list[ParamProblem] = []
    for item in cast("list[object]", items) if isinstance(items, list) else []:
        if isinstance(item, dict):
            entry = cast("dict[str, object]", item)
            found.append(
                {"param": str(entry.get("param", "")), "problem": str(entry.get("problem", ""))}
            )
    return tuple(found)
