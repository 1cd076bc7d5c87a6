"""The answer half of the edge codec, and its headers: whatever ended how, the answer can be read by who asked."""

from __future__ import annotations

import json
import math
from typing import cast

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.codec import (
    Answer,
    EdgeHeaders,
    Keys,
    authorize_balancer,
    authorize_link,
    authorize_logs,
    authorize_maintenance,
    authorize_worker,
    is_durable,
    knows_a_key,
    render_accepted,
    render_failure,
    render_outcome,
    render_value,
)
from shared.edge.headers import sanitised_correlation_id
from shared.edge.stream_format import choose
from shared.errors import CODES, Failure, ParamProblem, failure
from shared.task import Mode, Outcome
from shared.task_state import TaskStatus
from tests.fuzz.amount import examples
from tests.fuzz.codec_tasks import MSGPACK, JsonObject, values

KEYS = Keys("the-worker-key", "the-balancer-key")
any_text = st.text(
    st.characters(), max_size=30
)  # lone surrogates too: a function may raise anything
tokens = st.sampled_from(
    ["*/*", "application/json", MSGPACK, "application/x-msgpack", "text/event-stream", "application/x-ndjson"]
)  # fmt: skip
weights = st.sampled_from(
    ["", ";q=0", ";q=1", ";q=0.5", ";q=", ";q=nan", ";q=-1", ";q=1e9", ";x", ";;"]
)
accepts = st.none() | any_text | st.lists(st.tuples(tokens, weights).map("".join)).map(", ".join)
# JSON that no Python value holds, or that reads otherwise than it was written.
ODD_JSON = [
    b"1e400", b"-0.0", b"1" * 400, b'"\\ud800"', b'{"a":1,"a":2}', b" [1 ,\n2]", b"[" * 400 + b"]" * 400,
    b'"\\u0000\x7f"', b'{"":{}}', b"18446744073709551616", b"0.1e-400",
]  # fmt: skip
results = (
    st.none() | st.sampled_from(ODD_JSON) | values.map(lambda value: json.dumps(value).encode())
)
problems = st.builds(ParamProblem, param=any_text, problem=any_text)
failures = st.builds(
    Failure,
    st.sampled_from(sorted(CODES)) | any_text,
    any_text,
    st.lists(problems, max_size=2).map(tuple),
    st.none() | any_text,
    st.none() | st.floats(0, 1e6),
)
ENDINGS = [TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.TIMED_OUT, TaskStatus.EXPIRED]


def read(answer: Answer) -> JsonObject:
    """Return the object of an answer in whichever form it has."""
    if answer.content_type == MSGPACK:
        return cast("JsonObject", msgpack.unpackb(answer.body))
    assert answer.content_type == "application/json; charset=utf-8"
    return cast("JsonObject", json.loads(answer.body.decode()))


def same(one: object, other: object) -> bool:
    """Tell whether two JSON values are equal, NaN and infinity included."""
    return json.dumps(one) == json.dumps(other)


@examples(20)
@given(result=results, accept=accepts, mode=st.sampled_from(Mode))
def test_a_result_is_read_as_it_was_returned(
    result: bytes | None, accept: str | None, mode: Mode
) -> None:
    """The answer is JSON or msgpack and holds the result, the id and the success."""
    headers = EdgeHeaders(accept=accept)
    answer = render_outcome(Outcome(TaskStatus.SUCCEEDED, result), "id-1", headers, mode)
    body = read(answer)
    assert answer.status == 200
    assert (body["success"], body["task_id"]) == (True, "id-1")
    if mode is Mode.WEBHOOK:
        assert body["message"] == "Sent to webhook"
    elif result is None:
        assert "result" not in body
    else:
        assert same(body["result"], json.loads(result))


@examples(10)
@given(
    reason=failures,
    accept=accepts,
    status=st.sampled_from(ENDINGS),
    known=st.booleans(),
)
def test_a_failure_is_told_by_its_code(
    reason: Failure, accept: str | None, status: TaskStatus, known: bool
) -> None:
    """Status of the table, the contract's members, nothing else; texts that are not Unicode are repaired."""
    headers = EdgeHeaders(accept=accept)
    _check_failure(render_failure(reason, headers, "id-1"), reason)
    outcome = Outcome(status, failure=reason if known else None)
    told = reason if known else failure("internal_error")
    _check_failure(render_outcome(outcome, "id-1", headers), told)


def _check_failure(answer: Answer, reason: Failure) -> None:
    body = read(answer)
    assert answer.status == (CODES[reason.code].status if reason.code in CODES else 500)
    assert (body["success"], body["task_id"]) == (False, "id-1")
    assert (body["code"], body["error"]) == (_unicode(reason.code), _unicode(reason.message))
    assert body.keys() <= {"success", "error", "code", "task_id", "error_type", "details"}
    _check_retry_after(answer, reason.retry_after_s)


def _unicode(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _check_retry_after(answer: Answer, wait_s: float | None) -> None:
    given_s = dict(answer.headers).get("Retry-After")
    if wait_s is None:
        assert given_s is None
    else:
        assert given_s is not None
        assert int(given_s) == max(1, math.ceil(wait_s))


@examples(10)
@given(value=values, task_id=st.uuids().map(str), accept=accepts)
def test_other_answers_are_read_as_they_were_meant(
    value: object, task_id: str, accept: str | None
) -> None:
    """A value is itself, an acceptance names its task and where it is seen."""
    headers = EdgeHeaders(accept=accept)
    assert same(read(render_value({"value": value}, headers)), {"value": value})
    accepted = render_accepted(task_id, headers)
    assert (accepted.status, read(accepted)["task_id"]) == (202, task_id)
    assert dict(accepted.headers)["Location"] == f"/tasks/{task_id}"


# Headers

words = st.sampled_from(
    [
        *KEYS,
        "Bearer ",
        "bearer",
        " ",
        ",",
        "respond-async",
        ";",
        "\x00",
        "ß",
        "\udcff",
        "\ud800",
        "",
    ]
)
header = st.none() | any_text | st.lists(words, max_size=5).map("".join)


def _is_key(given_key: str | None, key: str) -> bool:
    """Say it once more, otherwise: a key, with or without `Bearer` before it."""
    return given_key is not None and (
        given_key.strip() == key
        or (given_key[:7].lower() == "bearer " and given_key[7:].strip() == key)
    )


@examples(20)
@given(authorization=header, lb_auth=header)
def test_only_keys_open(authorization: str | None, lb_auth: str | None) -> None:
    """No text but the key itself is taken for it, whatever bytes a header holds."""
    headers = EdgeHeaders(authorization=authorization, lb_auth=lb_auth)
    worker, balancer = _is_key(authorization, KEYS.auth_key), _is_key(lb_auth, KEYS.lb_key)
    as_authorization = _is_key(authorization, KEYS.lb_key)
    task = worker and (lb_auth is None or balancer)
    assert (authorize_worker(headers, *KEYS) is None) == task
    drain = task or (authorization is None and balancer)
    assert (authorize_maintenance(headers, *KEYS) is None) == drain
    assert (authorize_logs(headers, *KEYS) is None) == (worker or balancer)
    assert (authorize_link(headers, KEYS.lb_key) is None) == as_authorization
    assert (authorize_balancer(headers, KEYS.lb_key) is None) == (as_authorization or balancer)
    assert knows_a_key(headers, *KEYS) == (
        worker or balancer or as_authorization or _is_key(lb_auth, KEYS.auth_key)
    )


@examples(20)
@given(given_header=header, accept=accepts, mode=st.sampled_from(Mode))
def test_other_headers_are_survived(
    given_header: str | None, accept: str | None, mode: Mode
) -> None:
    """Any text in any header means something or nothing; a correlation id is made safe to repeat."""
    headers = EdgeHeaders(prefer=given_header, last_event_id=given_header, accept=accept)
    assert is_durable(mode, headers) in (True, False)
    assert 0 <= headers.resume_after < 10**16
    assert choose(accept).value in ("text/plain", "text/event-stream", "application/x-ndjson")
    kept = sanitised_correlation_id(given_header, 20)
    assert len(kept) <= 20
    assert all("!" <= char <= "~" for char in kept)
