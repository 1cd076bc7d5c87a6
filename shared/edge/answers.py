"""Answers: outcomes and failures as status, headers and body, in JSON or msgpack.

The one place that words a body of the HTTP edge. A result is spliced into its answer, not decoded
(DESIGN §6).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import msgspec

from shared.edge.accept import preferred
from shared.edge.transcode import msgpack_from_json
from shared.errors import failure
from shared.task import Mode

if TYPE_CHECKING:
    from shared.edge.headers import EdgeHeaders
    from shared.errors import Failure
    from shared.task import Outcome

JSON = "application/json; charset=utf-8"  # as Andera writes it
MSGPACK = "application/msgpack"
_MSGPACK_NAMES = (MSGPACK, "application/x-msgpack", "application/vnd.msgpack")
_OFFERS = (*_MSGPACK_NAMES, "application/json")

_SYNC, _WEBHOOK = Mode.SYNC, Mode.WEBHOOK

HeaderPairs = tuple[tuple[str, str], ...]


class Answer:
    """One HTTP answer, ready to be written by any shell.

    Attributes:
        status: HTTP status.
        body: the bytes to send.
        content_type: of the body.
        headers: further headers, in order.
    """

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self, status: int, body: bytes, content_type: str = JSON, headers: HeaderPairs = ()
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.body!r}, {self.content_type!r}, {self.headers!r})"


def render_outcome(
    outcome: Outcome, task_id: str, headers: EdgeHeaders, mode: Mode = _SYNC
) -> Answer:
    """Return the answer to a call that waited for its task.

    Args:
        outcome: how the task ended.
        task_id: its id.
        headers: of the request.
        mode: webhook only on a worker that was asked directly: its hook has answered 2xx.
    """
    if not outcome.ok:
        return render_failure(outcome.failure or failure("internal_error"), headers, task_id)
    tail = b',"task_id":"' + task_id.encode() + b'"}'
    if mode is _WEBHOOK:
        body = b'{"success":true,"message":"Sent to webhook"' + tail
    elif outcome.result is None:
        body = b'{"success":true' + tail
    else:
        body = b"".join((b'{"success":true,"result":', outcome.result, tail))  # one copy of it
    return _answer(200, body, headers)


def render_accepted(task_id: str, headers: EdgeHeaders, mode: Mode = Mode.WEBHOOK) -> Answer:
    """Return the 202 to a durable task that has been committed (contract §5)."""
    message = (
        "Task accepted, result will be sent to webhook"
        if mode is Mode.WEBHOOK
        else "Task accepted, result will be kept"
    )
    body = json_bytes({"success": True, "message": message, "task_id": task_id})
    return _answer(202, body, headers, (("Location", f"/tasks/{task_id}"),))


def render_failure(
    reason: Failure, headers: EdgeHeaders, task_id: str | None = None, *, status: int | None = None
) -> Answer:
    """Return the answer that tells why something did not happen.

    Args:
        reason: the failure; its code decides the status.
        headers: of the request.
        task_id: of the task concerned, when there is one.
        status: another status than the code's, for what HTTP itself refuses.
    """
    body: dict[str, object] = {"success": False, **error_members(reason)}
    if task_id is not None:
        body["task_id"] = task_id
    more: HeaderPairs = ()
    if reason.retry_after_s is not None:
        more = (("Retry-After", str(max(1, math.ceil(reason.retry_after_s)))),)
    if reason.code == "unauthorized":
        more = (*more, ("WWW-Authenticate", "Bearer"))
    return _answer(status or reason.status, json_bytes(body), headers, more)


def render_value(value: object, headers: EdgeHeaders, status: int = 200) -> Answer:
    """Return the answer that carries a plain value; JSON text inside it is `msgspec.Raw`."""
    return _answer(status, json_bytes(value), headers)


def error_members(reason: Failure) -> dict[str, object]:
    """Return the members that tell a failure: `error`, `code` and what else is known."""
    members: dict[str, object] = {"error": reason.message, "code": reason.code}
    if reason.error_type is not None:
        members["error_type"] = reason.error_type
    if reason.details:
        members["details"] = reason.details
    return members


def json_bytes(value: object) -> bytes:
    """Return JSON text of a value of ours; texts that are not Unicode (lone surrogates) are repaired."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_builtin)
        return text.encode("utf-8", "replace")


def _builtin(value: object) -> object:
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    return msgspec.to_builtins(value)


def _answer(status: int, body: bytes, headers: EdgeHeaders, more: HeaderPairs = ()) -> Answer:
    if headers.accept is not None and wants_msgpack(headers.accept):
        packed = msgpack_from_json(body)
        if packed is not None:
            return Answer(status, packed, MSGPACK, more)
    return Answer(status, body, JSON, more)


def wants_msgpack(accept: str) -> bool:
    """Tell whether an `Accept` header prefers msgpack to JSON."""
    if "msgpack" not in accept and "MSGPACK" not in accept.upper():
        return False
    return preferred(accept, _OFFERS, JSON) in _MSGPACK_NAMES
