"""Answers: the exact bodies, statuses and headers of the contract's §2 and §5."""

from __future__ import annotations

import json

import msgpack
import msgspec
import pytest

from shared.edge.answers import (
    JSON,
    Answer,
    json_bytes,
    render_accepted,
    render_failure,
    render_outcome,
    render_value,
)
from shared.edge.headers import EdgeHeaders
from shared.errors import CODES, Failure, ParamProblem, failure
from shared.task import Mode, Outcome
from shared.task_state import TaskStatus

PLAIN = EdgeHeaders()
PACKED = EdgeHeaders(accept="application/msgpack")


def _ok(result: bytes | None = None) -> Outcome:
    return Outcome(TaskStatus.SUCCEEDED, result=result)


def test_a_result_is_spliced_into_its_answer() -> None:
    """The function's text arrives byte for byte."""
    answer = render_outcome(_ok(b'{"a" : 1.50}'), "b-1", PLAIN)
    assert answer.status == 200
    assert answer.body == b'{"success":true,"result":{"a" : 1.50},"task_id":"b-1"}'
    assert answer.content_type == "application/json; charset=utf-8"
    assert answer.headers == ()


def test_nothing_returned_is_no_result_key() -> None:
    """Andera's clients tell `null` from nothing."""
    assert render_outcome(_ok(), "b-1", PLAIN).body == b'{"success":true,"task_id":"b-1"}'
    null = render_outcome(_ok(b"null"), "b-1", PLAIN).body
    assert null == b'{"success":true,"result":null,"task_id":"b-1"}'


def test_a_direct_webhook_task_has_been_sent() -> None:
    """A worker answers once the hook has answered; the result went there."""
    answer = render_outcome(_ok(b"5"), "b-1", PLAIN, Mode.WEBHOOK)
    assert (answer.status, answer.body) == (
        200, b'{"success":true,"message":"Sent to webhook","task_id":"b-1"}',
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (Mode.WEBHOOK, "Task accepted, result will be sent to webhook"),
        (Mode.SYNC, "Task accepted, result will be kept"),
    ],
)
def test_a_durable_task_is_accepted_with_its_place(mode: Mode, message: str) -> None:
    """202, where the task can be asked for, and Andera's message for a webhook."""
    answer = render_accepted("b-1", PLAIN, mode)
    assert answer.status == 202
    assert json.loads(answer.body) == {"success": True, "message": message, "task_id": "b-1"}
    assert answer.headers == (("Location", "/tasks/b-1"),)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_its_status_and_one_body(code: str) -> None:
    """Success false, text, code: the same shape whatever failed."""
    answer = render_failure(failure(code), PLAIN)
    assert answer.status == CODES[code].status
    assert json.loads(answer.body) == {"success": False, "error": CODES[code].message, "code": code}


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2"), (30, "30")]
)
def test_retry_after_is_whole_seconds(seconds: float, header: str) -> None:
    """Rounded up, because coming too early is of no use."""
    answer = render_failure(failure("queue_full", retry_after_s=seconds), PLAIN)
    assert (answer.status, answer.headers) == (429, (("Retry-After", header),))


def test_a_401_says_how_to_authenticate() -> None:
    """HTTP asks for the header; Andera's body stays."""
    answer = render_failure(failure("unauthorized"), PLAIN)
    assert answer.headers == (("WWW-Authenticate", "Bearer"),)
    assert json.loads(answer.body)["error"] == "Unauthorized"


def test_a_failure_tells_all_it_knows() -> None:
    """Task, exception class and the problems of parameters; never a traceback."""
    reason = Failure(
        "invalid_params", "Missing required param: ms",
        details=(ParamProblem(param="ms", problem="Missing required param: ms"),), error_type="ValueError",
    )  # fmt: skip
    assert json.loads(render_failure(reason, PLAIN, "b-1").body) == {
        "success": False, "error": "Missing required param: ms", "code": "invalid_params",
        "error_type": "ValueError",
        "details": [{"param": "ms", "problem": "Missing required param: ms"}], "task_id": "b-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (
            Outcome(TaskStatus.FAILED, failure=failure("function_error", "boom")),
            500,
            "function_error",
        ),
        (Outcome(TaskStatus.TIMED_OUT, failure=failure("timeout")), 504, "timeout"),
        (Outcome(TaskStatus.TIMED_OUT, failure=failure("queue_timeout")), 504, "queue_timeout"),
        (Outcome(TaskStatus.CANCELLED, failure=failure("cancelled")), 409, "cancelled"),
        (Outcome(TaskStatus.FAILED, failure=failure("worker_lost")), 502, "worker_lost"),
        (Outcome(TaskStatus.QUARANTINED, failure=failure("quarantined")), 500, "quarantined"),
        (Outcome(TaskStatus.FAILED), 500, "internal_error"),
    ],
)
def test_an_outcome_that_is_no_success_is_its_failure(
    outcome: Outcome, status: int, code: str
) -> None:
    """With the task's id, and even when nobody said why."""
    answer = render_outcome(outcome, "b-1", PLAIN)
    told = json.loads(answer.body)
    assert (answer.status, told["code"], told["task_id"]) == (status, code, "b-1")


@pytest.mark.parametrize(
    ("accept", "packed"),
    [
        (None, False), ("*/*", False), ("application/json", False), ("application/msgpack", True),
        ("APPLICATION/MSGPACK", True), ("application/x-msgpack", True),
        ("application/json, application/msgpack;q=0.5", False),
        ("application/msgpack, application/json;q=0.5", True), ("application/msgpack;q=0", False),
    ],
)  # fmt: skip
def test_msgpack_is_sent_to_who_asks_for_it(accept: str | None, packed: bool) -> None:
    """Results and failures alike; JSON to everybody else."""
    headers = EdgeHeaders(accept=accept)
    for answer in (
        render_outcome(_ok(b'{"a":1}'), "b-1", headers),
        render_failure(failure("timeout"), headers),
    ):
        told: object = msgpack.unpackb(answer.body) if packed else json.loads(answer.body)
        assert isinstance(told, dict)
        assert answer.content_type == ("application/msgpack" if packed else JSON)


def test_a_result_that_msgpack_cannot_say_is_sent_as_json() -> None:
    """Rather another form than none."""
    answer = render_outcome(_ok(b"18446744073709551616"), "b-1", PACKED)
    assert answer.content_type == JSON
    assert b"18446744073709551616" in answer.body


def test_texts_that_are_not_unicode_are_repaired() -> None:
    """A function may raise with a file name of undecodable bytes; the answer is still JSON."""
    answer = render_failure(
        Failure("function_error", "no file a\udcff", error_type="OSError"), PLAIN
    )
    assert json.loads(answer.body)["error"] == "no file a?"
    assert json.loads(json_bytes({"a": "\udc80", "b": msgspec.Raw(b"[1]")})) == {"a": "?", "b": [1]}


def test_a_value_is_rendered_with_its_raw_parts() -> None:
    """Kept JSON text is put into an answer as it is."""
    answer = render_value({"result": msgspec.Raw(b'{"a" : 1}')}, PLAIN, 207)
    assert (answer.status, answer.body) == (207, b'{"result":{"a" : 1}}')


def test_http_s_own_refusals_keep_their_status() -> None:
    """417 is answered as 417 with the code for a bad request."""
    assert render_failure(failure("bad_request"), PLAIN, status=417).status == 417


def test_an_answer_can_be_read_in_a_failing_test() -> None:
    """Its repr shows what it is."""
    assert repr(Answer(200, b"x", "text/plain")) == "Answer(200, b'x', 'text/plain', ())"
