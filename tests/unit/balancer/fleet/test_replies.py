"""What HTTP answers of plain workers mean, Andera's among them."""

from __future__ import annotations

import pytest

from balancer.fleet.replies import outcome_of_reply
from shared.task_state import TaskStatus


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, b'{"success":true,"result":{"message": "Hello"}}', b'{"message": "Hello"}'),
        (200, b'{"success":true}', None),
        (200, b'{"success":true,"result":null,"task_id":"x"}', b"null"),
    ],
)
def test_success_carries_the_raw_result(status: int, body: bytes, result: bytes | None) -> None:
    """A success is passed on with its result as the worker wrote it."""
    outcome = outcome_of_reply(status, body)
    assert outcome.status is TaskStatus.SUCCEEDED
    assert outcome.result == result


@pytest.mark.parametrize(
    ("status", "body", "code", "http"),
    [
        (500, b'{"success":false,"error":"boom"}', "function_error", 500),
        (500, b'{"success":false,"error":"Timeout"}', "timeout", 504),
        (504, b'{"success":false,"error":"Timeout","code":"timeout"}', "timeout", 504),
        (404, b'{"error":"Function \'x\' not found"}', "function_not_found", 404),
        (400, b'{"error":"Invalid mode","code":"invalid_mode"}', "invalid_mode", 400),
        (400, b'{"error":"nope"}', "bad_request", 400),
        (401, b'{"error":"Unauthorized"}', "worker_unreachable", 502),
        (503, b'{"error":"Worker is in maintenance mode"}', "maintenance", 503),
        (429, b"", "queue_full", 429),
        (418, b"<html>", "function_error", 500),
        (200, b"<html>", "function_error", 500),
    ],
)
def test_failures_keep_their_meaning(status: int, body: bytes, code: str, http: int) -> None:
    """A refusal keeps its code, or gets the one that its status stands for."""
    failed = outcome_of_reply(status, body).failure
    assert failed is not None
    assert (failed.code, failed.status) == (code, http)


def test_a_stream_that_was_refused_with_200_is_a_refusal() -> None:
    """Andera refuses a stream with status 200 (fault 8); ours is not fooled."""
    outcome = outcome_of_reply(
        200, b'{"error":"Function \'fail\' does not support streaming"}', stream=True
    )
    assert outcome.status is TaskStatus.FAILED
    assert outcome.failure is not None
    assert outcome.failure.status == 400


def test_details_of_bad_parameters_are_passed_on() -> None:
    """`details` of a worker reaches the caller; malformed items are left out."""
    body = b'{"error":"e","code":"invalid_params","details":[{"param":"a","problem":"p"},5]}'
    failed = outcome_of_reply(400, body).failure
    assert failed is not None
    assert failed.details == ({"param": "a", "problem": "p"},)
