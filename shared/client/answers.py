"""Reads the answers of the HTTP API: results, records, and failures as errors of the one tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from shared.client.records import Json
from shared.errors import CODES, CabrankError, Failure, ParamProblem, error_of

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

JsonObject = dict[str, Json]

# What a status means when the body does not say it: Andera's answers and those of proxies between.
_CODE_OF_STATUS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    429: "queue_full",
    500: "function_error",
    502: "worker_unreachable",
    503: "no_worker_available",
    504: "timeout",
}


def decode(body: bytes, kind: type[T]) -> T:
    """Return the body of a good answer as a value of a kind.

    Raises:
        CabrankError: `bad_answer`, the body is something else.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise bad_answer(str(exc)) from exc


def bad_answer(what: str) -> CabrankError:
    """Return the error for a peer that does not speak the contract."""
    return error_of(Failure("bad_answer", f"{CODES['bad_answer'].message}: {what}"))


def error_of_answer(status: int, headers: Mapping[str, str], body: bytes) -> CabrankError:
    """Return the error that an answer with a status that is not 2xx stands for."""
    members = _members(body)
    error = error_of_members(members, default_code=_default_code(status), status=status)
    retry_after_s = _seconds(headers.get("Retry-After"))
    if retry_after_s is None:
        return error
    told = error.failure
    again = error_of(Failure(told.code, told.message, told.details, told.error_type, retry_after_s))
    again.task_id = error.task_id
    return again


def error_of_members(
    members: Mapping[str, Json], *, default_code: str, status: int | None = None
) -> CabrankError:
    """Return the error that the members of an error body stand for, in an answer or in a stream."""
    code, text, kind = members.get("code"), members.get("error"), members.get("error_type")
    code = code if isinstance(code, str) and code else default_code
    if not isinstance(text, str) or not text:
        text = CODES[code].message if code in CODES else code
        text = text if status is None else f"{text} (HTTP {status})"
    details = _details(members.get("details"))
    error = error_of(Failure(code, text, details, kind if isinstance(kind, str) else None))
    task_id = members.get("task_id")
    error.task_id = task_id if isinstance(task_id, str) else None
    return error


def _default_code(status: int) -> str:
    code = _CODE_OF_STATUS.get(status)
    return code or ("bad_request" if 400 <= status < 500 else "bad_answer")


def _members(body: bytes) -> JsonObject:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return cast("JsonObject", decoded) if isinstance(decoded, dict) else {}


def _details(value: Json) -> tuple[ParamProblem, ...]:
    if not isinstance(value, list):
        return ()
    items = [
        cast("JsonObject", item) for item in cast("list[Json]", value) if isinstance(item, dict)
    ]
    return tuple(
        ParamProblem(param=str(item.get("param", "")), problem=str(item.get("problem", "")))
        for item in items
    )


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a Retry-After; a date, which nobody of ours sends, counts as absent."""
    try:
        seconds = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
