"""The request half of the edge codec: a body and its headers in, a task or a failure out (contract §2, §5).

Pure, so that every shell (aiohttp today, the fast lane beside it) has the same checks in the same
order with the same texts. `input` and `metadata` stay raw slices of the body.

Nearly every body is plain: each field is of the one type that is right for it. A strictly typed decoder
finds that out in one go; whatever it does not like is read again field by field, in the order below.

The order, after auth and body size, which the shell checks before it has the body:

    JSON → may tasks be taken (worker: maintenance) → group, function, contract present (balancer)
    → priority → function → contract (worker: its own) → input → mode → function hosted, can stream
    (worker) → webhook → timeout_s, deadline_s, max_attempts, metadata, delay_s, run_at, retry_on
    → may it start later → (balancer: Idempotency-Key; 404s, by its engine)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from shared.edge import fields
from shared.edge.answers import (
    Answer,
    render_accepted,
    render_failure,
    render_outcome,
    render_value,
)
from shared.edge.headers import EdgeHeaders, is_durable
from shared.edge.keys import (
    Keys,
    authorize_balancer,
    authorize_link,
    authorize_logs,
    authorize_maintenance,
    authorize_worker,
    is_key,
    knows_a_key,
)
from shared.edge.limits import MAX_CONTRACT, MAX_NAME
from shared.edge.rules import BalancerRules, TaskRules, WorkerRules
from shared.edge.transcode import json_from_msgpack
from shared.errors import Failure, failure
from shared.task import PRIORITY_FIRST, PRIORITY_LAST, Mode, TaskRequest

if TYPE_CHECKING:
    from shared.task import WebhookTarget

__all__ = [
    "Answer",
    "BalancerRules",
    "EdgeHeaders",
    "Keys",
    "TaskRules",
    "WorkerRules",
    "authorize_balancer",
    "authorize_link",
    "authorize_logs",
    "authorize_maintenance",
    "authorize_worker",
    "is_durable",
    "is_key",
    "knows_a_key",
    "parse_by_field",
    "parse_task",
    "render_accepted",
    "render_failure",
    "render_outcome",
    "render_value",
]

_INVALID_JSON = failure("invalid_json")
_NOTHING = msgspec.Raw(b"")
_AS_IT_IS = (None, "application/json")  # the content types of nearly all bodies
_BOM = b"\xef\xbb\xbf"  # Andera's body parser skips it
_UNREADABLE = (
    object()
)  # stands for valid JSON that no Python value holds, such as 1e999: fits no check

_SYNC = Mode.SYNC  # by name it is a look-up, four times as slow


class _Plain(msgspec.Struct, gc=False):
    """A body that needs no further look but at `input`: a sync task without options."""

    function: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    contract: Annotated[int, msgspec.Meta(ge=-MAX_CONTRACT, le=MAX_CONTRACT)]
    group: str = ""
    input: msgspec.Raw = _NOTHING
    priority: Annotated[int, msgspec.Meta(ge=PRIORITY_FIRST, le=PRIORITY_LAST)] = PRIORITY_FIRST
    mode: Literal["sync"] = "sync"
    timeout_s: None = None
    deadline_s: None = None
    max_attempts: None = None
    metadata: None = None
    delay_s: None = None
    run_at: None = None
    retry_on: None = None


class _Body(msgspec.Struct, gc=False):
    """The fields that we read; all others are ignored."""

    function: object = None
    contract: object = None
    group: object = None
    input: msgspec.Raw = _NOTHING
    priority: object = msgspec.UNSET
    mode: object = "sync"
    webhook: msgspec.Raw = _NOTHING
    timeout_s: object = None
    deadline_s: object = None
    max_attempts: object = None
    metadata: msgspec.Raw = _NOTHING
    delay_s: object = None
    run_at: object = None
    retry_on: object = None


class _RawBody(msgspec.Struct, gc=False):
    """The same, undecoded: for bodies with a number that no float holds."""

    function: msgspec.Raw = _NOTHING
    contract: msgspec.Raw = _NOTHING
    group: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    priority: msgspec.Raw = _NOTHING
    mode: msgspec.Raw = _NOTHING
    webhook: msgspec.Raw = _NOTHING
    timeout_s: msgspec.Raw = _NOTHING
    deadline_s: msgspec.Raw = _NOTHING
    max_attempts: msgspec.Raw = _NOTHING
    metadata: msgspec.Raw = _NOTHING
    delay_s: msgspec.Raw = _NOTHING
    run_at: msgspec.Raw = _NOTHING
    retry_on: msgspec.Raw = _NOTHING


_RAW_FIELDS = ("input", "webhook", "metadata")
_PLAIN = msgspec.json.Decoder(_Plain)
_BODY = msgspec.json.Decoder(_Body)
_RAW_BODY = msgspec.json.Decoder(_RawBody)


def parse_task(
    body: bytes | bytearray, headers: EdgeHeaders, rules: TaskRules
) -> TaskRequest | Failure:
    """Return the task that a body asks for, or the first thing that is wrong with it.

    Args:
        body: the whole body, within REQUEST_BODY_LIMIT, of a caller who is authorized.
        headers: of the request.
        rules: of the side that asks.
    """
    if headers.content_type not in _AS_IT_IS or not body.isascii():
        text = _json_text(body, headers.content_type)
        if isinstance(text, Failure):
            return text
        body = text
    try:
        given = _PLAIN.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return parse_by_field(body, headers, rules)
    raw = bytes(given.input)
    if raw[:1] != b"{":
        return parse_by_field(body, headers, rules)
    group = rules.check_sound(given.group, given.function, given.contract, _SYNC)
    if isinstance(group, Failure):
        return group
    worker_key = fields.worker_key_of(headers.wr_auth) if headers.wr_auth is not None else None
    if isinstance(worker_key, Failure):
        return worker_key
    return TaskRequest(
        function=given.function, contract=given.contract, group=group, input=raw,
        priority=given.priority, correlation_id=headers.correlation_id or "", worker_key=worker_key,
    )  # fmt: skip


def parse_by_field(
    body: bytes | bytearray, headers: EdgeHeaders, rules: TaskRules
) -> TaskRequest | Failure:
    """Do the same with any JSON text in UTF-8, one check after the other."""
    given = _read(body)
    if isinstance(given, Failure):
        return given
    refused = rules.admit()
    if refused is not None:
        return refused
    group = rules.group_of(given.group, given.function, given.contract)
    if isinstance(group, Failure):
        return group
    priority = fields.priority_of(given.priority)
    if isinstance(priority, Failure):
        return priority
    function = fields.function_of(given.function)
    if isinstance(function, Failure):
        return function
    contract = fields.contract_of(given.contract)
    if isinstance(contract, Failure):
        return contract
    refused = rules.check_contract(contract)
    if refused is not None:
        return refused
    text = fields.input_of(given.input)
    if isinstance(text, Failure):
        return text
    mode = fields.mode_of(given.mode)
    if isinstance(mode, Failure):
        return mode
    refused = rules.check_function(function, mode)
    if refused is not None:
        return refused
    worker_key = fields.worker_key_of(headers.wr_auth)
    if isinstance(worker_key, Failure):
        return worker_key
    request = TaskRequest(
        function=function, contract=contract, group=group, input=text, priority=priority, mode=mode,
        correlation_id=headers.correlation_id or "", worker_key=worker_key,
    )  # fmt: skip
    if mode is Mode.SYNC and _is_plain(given):
        return request
    taken = _with_options(request, given)
    if isinstance(taken, Failure) or (given.delay_s is None and given.run_at is None):
        return taken
    return rules.check_start(mode, headers) or taken


def _is_plain(given: _Body) -> bool:
    """Tell whether a body has none of the fields that few callers send."""
    return (
        given.timeout_s is None
        and given.deadline_s is None
        and given.max_attempts is None
        and given.metadata is _NOTHING
        and given.delay_s is None
        and given.run_at is None
        and given.retry_on is None
    )


def _with_options(request: TaskRequest, given: _Body) -> TaskRequest | Failure:
    """Return the task with the fields that few callers send."""
    if request.mode is Mode.WEBHOOK:
        webhook: WebhookTarget | Failure = fields.webhook_of(given.webhook)
        if isinstance(webhook, Failure):
            return webhook
        request.webhook = webhook
    timeout_s = fields.seconds_of("timeout_s", given.timeout_s)
    if isinstance(timeout_s, Failure):
        return timeout_s
    deadline_s = fields.seconds_of("deadline_s", given.deadline_s)
    if isinstance(deadline_s, Failure):
        return deadline_s
    max_attempts = fields.attempts_of(given.max_attempts)
    if isinstance(max_attempts, Failure):
        return max_attempts
    metadata = fields.metadata_of(given.metadata)
    if isinstance(metadata, Failure):
        return metadata
    request.timeout_s = timeout_s
    request.deadline_s = deadline_s
    request.max_attempts = max_attempts
    request.metadata = metadata
    return _with_moments(request, given)


def _with_moments(request: TaskRequest, given: _Body) -> TaskRequest | Failure:
    """Return the task with what it says about its start and its next attempts."""
    delay_s = fields.delay_of(given.delay_s)
    if isinstance(delay_s, Failure):
        return delay_s
    run_at = fields.run_at_of(given.run_at)
    if isinstance(run_at, Failure):
        return run_at
    if delay_s is not None and run_at is not None:
        return failure("invalid_field", "Invalid run_at: give run_at or delay_s, not both")
    retry_on = fields.codes_of(given.retry_on)
    if isinstance(retry_on, Failure):
        return retry_on
    request.delay_s = delay_s
    request.run_at = run_at
    request.retry_on = retry_on
    return request


def _json_text(body: bytes | bytearray, content_type: str | None) -> bytes | bytearray | Failure:
    """Return a body as JSON text in UTF-8; all but msgpack is JSON, whatever its type says."""
    if content_type is not None and "msgpack" in content_type.lower():
        text = json_from_msgpack(bytes(body))
        if isinstance(text, Failure):
            return text
        body = text
    # Strings inside raw slices are not decoded, so that nobody else checks their UTF-8.
    if not body.isascii():
        body = body.removeprefix(_BOM)
        try:
            body.decode()
        except UnicodeDecodeError:
            return _INVALID_JSON
    return body


def _read(body: bytes | bytearray) -> _Body | Failure:
    """Return the fields of a body, each as the caller wrote it."""
    try:
        return _BODY.decode(body)
    except msgspec.ValidationError:
        return _read_raw(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _INVALID_JSON


def _read_raw(body: bytes | bytearray) -> _Body | Failure:
    """Read field by field a body that is no object, or has a number that no float holds."""
    try:
        raw = _RAW_BODY.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return _INVALID_JSON
    given = _Body()
    for name in _Body.__struct_fields__:
        slice_: msgspec.Raw = getattr(raw, name)
        if name in _RAW_FIELDS:
            setattr(given, name, slice_)
        elif bytes(slice_):
            setattr(given, name, _value(slice_))
    return given


def _value(raw: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return _UNREADABLE
