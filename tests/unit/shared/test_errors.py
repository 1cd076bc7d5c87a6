"""The table of codes and the tree of exceptions: what clients rely on, pinned."""

from __future__ import annotations

import inspect

import pytest

from shared import errors
from shared.errors import (
    CODES,
    CabrankError,
    CallerError,
    Failure,
    FleetError,
    InvalidParams,
    WorkerError,
    error_of,
    failure,
)

# code → status, retryable, default message. A change here is a change of the wire.
PINNED = {
    "unauthorized": (401, False, "Unauthorized"),
    "forbidden": (403, False, "Forbidden"),
    "bad_request": (400, False, "Bad request"),
    "not_found": (404, False, "Not found"),
    "method_not_allowed": (405, False, "Method not allowed"),
    "request_timeout": (408, True, "Request was not received in time"),
    "headers_too_large": (431, False, "Request header fields too large"),
    "body_too_large": (413, False, "Request body too large"),
    "invalid_json": (400, False, "Invalid JSON body"),
    "invalid_priority": (400, False, "Invalid priority: must be between 1 and 2097152"),
    "invalid_function": (400, False, "Missing or invalid function name"),
    "invalid_contract": (400, False, "Missing or invalid contract"),
    "contract_mismatch": (400, False, "Contract version mismatch"),
    "invalid_input": (400, False, "Invalid input: must be an object"),
    "invalid_mode": (400, False, "Invalid mode"),
    "invalid_webhook": (400, False, "Missing or invalid webhook.url for mode webhook"),
    "invalid_field": (400, False, "Invalid field"),
    "invalid_params": (400, False, "Invalid parameters"),
    "invalid_request": (400, False, "Missing group, function, or contract"),
    "function_not_found": (404, False, "Function not found"),
    "group_not_found": (404, False, "Group not found"),
    "contract_not_found": (404, False, "Contract not found"),
    "task_not_found": (404, False, "Task not found"),
    "worker_not_found": (404, False, "Worker not found"),
    "dead_letter_not_found": (404, False, "Dead letter not found"),
    "streaming_not_supported": (400, False, "Function does not support streaming"),
    "task_finished": (409, False, "Task has already finished"),
    "cancelled": (409, False, "Task was cancelled"),
    "idempotency_conflict": (409, False, "Idempotency-Key was used for another request"),
    "not_quarantined": (409, False, "Task is not quarantined"),
    "function_error": (500, True, "Function failed"),
    "timeout": (504, True, "Timeout"),
    "worker_lost": (502, True, "Worker was lost while it ran the task"),
    "webhook_failed": (502, True, "Failed to send webhook"),
    "quarantined": (500, False, "Task was running each time a worker died"),
    "result_too_large": (500, False, "Result is larger than a link may carry"),
    "superseded": (409, False, "Another attempt has taken the place of this one"),
    "maintenance": (503, True, "Worker is in maintenance mode"),
    "queue_full": (429, True, "Queue is full"),
    "queue_timeout": (504, True, "No slot became free in time"),
    "expired": (504, True, "Deadline passed before the task could start"),
    "no_worker_available": (503, True, "No worker is available"),
    "worker_unreachable": (502, True, "Worker could not be reached"),
    "no_slot": (503, True, "Worker has no free slot"),
    "store_unavailable": (503, True, "Store is unavailable"),
    "shutting_down": (503, True, "Process is shutting down"),
    "protocol_error": (502, True, "Peer broke the link protocol"),
    "unknown_message": (400, False, "Message kind is not known"),
    "config_error": (500, False, "Invalid configuration"),
    "internal_error": (500, False, "Internal error"),
    "unreachable": (503, True, "Server could not be reached"),
    "connection_lost": (502, True, "Connection was lost before the answer was complete"),
    "bad_answer": (502, False, "Server gave an answer that is not of this contract"),
}


def _classes() -> list[type[CabrankError]]:
    members = (member for _, member in inspect.getmembers(errors, inspect.isclass))
    return [member for member in members if issubclass(member, CabrankError)]


@pytest.mark.parametrize("code", PINNED)
def test_a_code_keeps_its_status_and_text(code: str) -> None:
    """A client that was written for a code finds it again in the next version."""
    assert tuple(CODES[code]) == PINNED[code]


def test_every_code_is_pinned() -> None:
    """A new code is written down here, with its status and text."""
    assert set(CODES) == set(PINNED)


@pytest.mark.parametrize("code", PINNED)
def test_every_failure_becomes_an_exception_with_its_code(code: str) -> None:
    """A Python caller gets the same code, text and advice as an HTTP caller."""
    error = error_of(failure(code, "what happened"))
    assert error.failure.code == code
    assert str(error) == error.message == "what happened"
    assert error.retryable is CODES[code].retryable


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_json", CallerError),
        ("body_too_large", CallerError),
        ("function_not_found", CallerError),
        ("function_error", WorkerError),
        ("timeout", WorkerError),
        ("quarantined", WorkerError),
        ("queue_full", FleetError),
        ("no_worker_available", FleetError),
        ("maintenance", FleetError),
    ],
)
def test_the_tree_says_whose_fault_it_is(code: str, kind: type[CabrankError]) -> None:
    """A caller can catch its own mistakes apart from the fleet's."""
    assert isinstance(error_of(failure(code)), kind)


@pytest.mark.parametrize(("status_of", "expected"), [("no_such_code", 500), ("maintenance", 503)])
def test_a_code_of_a_later_version_is_a_500(status_of: str, expected: int) -> None:
    """An unknown code from a newer peer still has a status, and no retry is advised."""
    unknown = Failure(status_of, "?")
    assert unknown.status == expected
    assert error_of(unknown).failure is unknown


def test_an_unknown_code_is_never_called_retryable() -> None:
    """Nobody retries what he does not understand."""
    assert not error_of(Failure("no_such_code", "?")).retryable


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_exception_has_a_code_of_the_table_and_a_text(kind: type[CabrankError]) -> None:
    """Raised without words, an exception still says what it is."""
    error = kind()
    assert kind.code in CODES
    assert error.message
    assert error.failure.code == kind.code


def test_invalid_params_carries_the_problems() -> None:
    """The first problem is the text, all of them are the details."""
    details = (
        errors.ParamProblem(param="ms", problem="Missing required param: ms"),
        errors.ParamProblem(param="k", problem="Unexpected param: k"),
    )
    error = InvalidParams(details=details)
    assert error.message == "Missing required param: ms"
    assert error.details == error.failure.details == details


def test_failure_takes_the_table_s_text_unless_a_better_one_is_given() -> None:
    """An empty text that is given stays empty; None takes the default."""
    assert failure("queue_full", retry_after_s=2).message == "Queue is full"
    assert failure("queue_full", retry_after_s=2).retry_after_s == 2
    assert failure("queue_full", "").message == ""
