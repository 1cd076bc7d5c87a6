"""Answers as values and errors."""

from __future__ import annotations

import pytest

from shared.client.answers import decode, error_of_answer
from shared.client.records import TaskInfo
from shared.edge.answers import render_failure
from shared.edge.headers import EdgeHeaders
from shared.errors import CODES, CabrankError, Failure, InvalidParams, Unavailable, error_of

CLIENTS_OWN = {"unreachable", "connection_lost", "bad_answer"}


@pytest.mark.parametrize("code", sorted(CODES.keys() - CLIENTS_OWN))
def test_every_code_comes_back_as_its_error(code: str) -> None:
    """What the edge renders is read back as the exception of the same code, message and task."""
    told = Failure(code, f"about {code}", error_type="KeyError", retry_after_s=7)
    answer = render_failure(told, EdgeHeaders(), "t-1")
    error = error_of_answer(answer.status, dict(answer.headers), answer.body)
    assert type(error) is type(error_of(told))
    assert error.failure == told
    assert (error.code, error.message, error.task_id) == (code, f"about {code}", "t-1")
    assert error.retry_after_s == 7


def test_details_come_back() -> None:
    """The problems of single parameters are told."""
    details = ({"param": "ms", "problem": "Missing required param: ms"},)
    answer = render_failure(Failure("invalid_params", "no", details), EdgeHeaders())  # pyright: ignore[reportArgumentType] # a literal is such a dict
    error = error_of_answer(answer.status, {}, answer.body)
    assert isinstance(error, InvalidParams)
    assert error.details == details


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, b'{"error":"Unauthorized"}', "unauthorized"),
        (400, b'{"error":"no"}', "bad_request"),
        (404, b"<html>", "not_found"),
        (500, b'{"error":"boom"}', "function_error"),
        (502, b"", "worker_unreachable"),
        (503, b"[]", "no_worker_available"),
        (504, b"null", "timeout"),
        (418, b"\xff", "bad_request"),
        (599, b"", "bad_answer"),
    ],
)
def test_an_answer_without_a_code(status: int, body: bytes, code: str) -> None:
    """Andera's bodies and those of a proxy are errors by their status."""
    assert error_of_answer(status, {}, body).code == code


def test_a_code_of_tomorrow_is_kept() -> None:
    """A code that this version does not know is passed on."""
    error = error_of_answer(400, {}, b'{"error":"too blue","code":"too_blue"}')
    assert (error.code, error.message) == ("too_blue", "too blue")


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "nan", "inf", ""])
def test_a_retry_after_that_is_no_number_is_none(text: str) -> None:
    """Only seconds are understood; all else counts as absent."""
    error = error_of_answer(503, {"Retry-After": text}, b"{}")
    assert isinstance(error, CabrankError)
    assert error.retry_after_s is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"task_id": 1, "status": "queued"}', b"\xff"])
def test_a_good_status_with_a_wrong_body(body: bytes) -> None:
    """A body that is not of the contract is `bad_answer`."""
    with pytest.raises(CabrankError) as caught:
        decode(body, TaskInfo)
    assert caught.value.code == "bad_answer"


def test_unreachable_is_retryable() -> None:
    """The client's own errors are in the table and in the tree."""
    error = error_of(Failure("unreachable", "no"))
    assert isinstance(error, Unavailable)
    assert error.retryable
