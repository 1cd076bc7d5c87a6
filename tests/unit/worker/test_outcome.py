"""What the end of a function means: JSON text, or a message without a traceback."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.task import PieceKind
from shared.task_state import TaskStatus
from worker import outcome
from worker.authoring.context import PieceValue


class Colour(Enum):
    """An enum."""

    RED = "red"


class Silent(Exception):
    """An exception that says nothing."""


class Broken(Exception):
    """An exception that cannot say anything."""

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError("no text")


VALUES: list[tuple[object, bytes | None]] = [
    (None, None),
    ("", b'""'),
    (0, b"0"),
    (False, b"false"),
    ([], b"[]"),
    ({"ä": [1, 2.5, None]}, '{"ä":[1,2.5,null]}'.encode()),
    ((1, 2), b"[1,2]"),
    ({3}, b"[3]"),
    (math.nan, b"null"),
    (Colour.RED, b'"red"'),
    (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
    (Decimal("1.10"), b'"1.10"'),
    (datetime(2030, 1, 1, tzinfo=UTC), b'"2030-01-01T00:00:00Z"'),
    (timedelta(seconds=90), b'"PT90S"'),
    (b"\xff\x00", b'"/wA="'),
    (Path("/a/b"), b'"/a/b"'),
    (2**70, b"1180591620717411303424"),
]


@pytest.mark.parametrize(("value", "encoded"), VALUES)
def test_a_return_value_becomes_json(value: object, encoded: bytes | None) -> None:
    """Whatever has a JSON form gets it; None is no result."""
    found = outcome.returned(value)
    assert (found.status, found.result) == (TaskStatus.SUCCEEDED, encoded)


def _endless() -> list[object]:
    ring: list[object] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize("value", [object(), {1: object()}, lambda: None, _endless()])
def test_what_has_no_json_form_is_a_failure_of_the_function(value: object) -> None:
    """With a message that says so."""
    failure = outcome.returned(value).failure
    assert failure is not None
    assert failure.code == "function_error"
    assert failure.message.startswith("The return value has no JSON form")


def test_a_result_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no link could carry is a failure of its own, wherever the task came from."""
    monkeypatch.setattr(outcome, "MAX_RESULT_BYTES", 10)
    assert outcome.returned("12345678").result == b'"12345678"'
    failure = outcome.returned("123456789").failure
    assert failure is not None
    assert failure.code == "result_too_large"


ERRORS = [
    (ValueError("the message"), "the message", "ValueError"),
    (Silent(), "Silent", "Silent"),
    (Broken(), "Broken", "Broken"),
    (ValueError("x" * 10_000), "x" * outcome.MAX_MESSAGE_CHARS, "ValueError"),
    (OSError("no /tmp/\udcff"), "no /tmp/\\udcff", "OSError"),  # a file name that is no UTF-8
]


@pytest.mark.parametrize(("error", "message", "error_type"), ERRORS)
def test_an_exception_becomes_its_message_and_its_class(
    error: Exception, message: str, error_type: str
) -> None:
    """The traceback goes to the log and nowhere else."""
    with capture_logs() as lines:
        found = outcome.raised(error, "f", "task-1")
    assert found.failure is not None
    assert (found.failure.message, found.failure.error_type) == (message, error_type)
    assert lines[0]["exc_info"] is error
    assert lines[0]["task_id"] == "task-1"


PIECES: list[tuple[PieceValue, PieceKind, bytes]] = [
    ("text ä", PieceKind.TEXT, "text ä".encode()),
    (b"\x00", PieceKind.BYTES, b"\x00"),
    ({"a": 1}, PieceKind.JSON, b'{"a":1}'),
    (None, PieceKind.JSON, b"null"),
    ("lone \ud800", PieceKind.TEXT, b"lone ?"),
]


@pytest.mark.parametrize(("value", "kind", "data"), PIECES)
def test_a_piece_keeps_its_kind(value: PieceValue, kind: PieceKind, data: bytes) -> None:
    """Text and bytes go as they are, all else as JSON."""
    assert outcome.encode_piece(value) == (kind, data)


def test_a_piece_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that streams more at once is told to send it in parts."""
    monkeypatch.setattr(outcome, "MAX_PIECE_BYTES", 4)
    with pytest.raises(ValueError, match="at most 4 fit"):
        outcome.encode_piece("12345")
