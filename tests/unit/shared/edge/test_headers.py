"""What the edge reads from headers: durability, resume, correlation ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.headers import (
    EdgeHeaders,
    async_wait_s,
    is_durable,
    key_of,
    sanitised_correlation_id,
)
from shared.errors import Failure
from shared.task import Mode


@pytest.mark.parametrize(
    ("mode", "prefer", "durable"),
    [
        (Mode.WEBHOOK, None, True),
        (Mode.SYNC, None, False),
        (Mode.SYNC, "respond-async", True),
        (Mode.SYNC, "wait=10, Respond-Async", True),
        (Mode.SYNC, "respond-async; x=1", True),
        (Mode.SYNC, "respond-asynchronously", False),
        (Mode.SYNC, "return=minimal", False),
        (Mode.STREAM, "respond-async", False),
    ],
)
def test_a_task_is_durable_when_its_caller_does_not_wait(
    mode: Mode, prefer: str | None, durable: bool
) -> None:
    """Webhook tasks, and sync ones with `Prefer: respond-async`; a stream has a reader."""
    assert is_durable(mode, EdgeHeaders(prefer=prefer)) is durable


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("key", ["k", "", "a b"])
def test_a_task_that_is_named_is_durable(mode: Mode, key: str) -> None:
    """In every mode, and before anybody has looked at the name."""
    assert is_durable(mode, EdgeHeaders(idempotency_key=key))


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        (None, None),
        ("", None),
        ("wait=5", None),
        ("respond-async", 0),
        ("respond-async, wait=0", 0),
        ("respond-async, wait=5", 5),
        ("WAIT=5 ; Respond-Async", 5),
        ('respond-async;wait="5"', 5),
        ("respond-async, wait = 5", 5),
        ("respond-async, wait=5, wait=6", 5),
        ("respond-async, wait=300", 300),
        ("respond-async, wait=301", 300),
        ("respond-async, wait=999999999", 300),
        ("respond-async, wait=9999999999", 0),
        ("respond-async, wait=-1", 0),
        ("respond-async, wait=1.5", 0),
        ("respond-async, wait=x", 0),
        ("respond-async, wait=²", 0),
        ("respond-async, wait", 0),
    ],
)
def test_what_a_caller_waits_before_its_202(prefer: str | None, wait_s: float | None) -> None:
    """What is not understood is ignored, as RFC 7240 has it; too long a wait is cut."""
    assert async_wait_s(prefer) == wait_s


@pytest.mark.parametrize("key", ["a", "!~", '"8e03978e-40d5"', "x" * 255])
def test_a_key_is_visible_ascii(key: str) -> None:
    """Of a length that any store can index."""
    assert key_of(EdgeHeaders(idempotency_key=key)) == key


@pytest.mark.parametrize("key", ["", " ", "a b", "a\t", "é", "\x7f", "x" * 256, "a, b", "\udcff"])
def test_what_is_no_key_is_refused(key: str) -> None:
    """Two header lines are joined by a comma and a space, so that they are none either."""
    refused = key_of(EdgeHeaders(idempotency_key=key))
    assert isinstance(refused, Failure)
    assert refused.code == "invalid_field"
    assert key_of(EdgeHeaders()) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        ("007", 7),
        ("-1", 0),
        ("x", 0),
        ("1.5", 0),
        ("²", 0),
        ("9" * 5000, 0),
    ],
)
def test_last_event_id_is_a_number_or_nothing(text: str | None, number: int) -> None:
    """A reader that remembers nonsense starts from the beginning."""
    assert EdgeHeaders(last_event_id=text).resume_after == number


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        (None, ""), ("", ""), ("abc-1", "abc-1"), ("a b", "ab"), ("é", ""), ("a\x1b[31m", "a[31m"),
        ("a\tb\x7f", "ab"), ("x" * 200, "x" * 128),
    ],
)  # fmt: skip
def test_a_correlation_id_keeps_its_visible_ascii(given_id: str | None, kept: str) -> None:
    """It goes into headers and log lines, so nothing else may pass."""
    assert sanitised_correlation_id(given_id, 128) == kept


@given(st.text(), st.integers(0, 50))
def test_no_correlation_id_ends_a_line(given_id: str, limit: int) -> None:
    """Whatever was sent, what is kept is short, visible ASCII."""
    kept = sanitised_correlation_id(given_id, limit)
    assert len(kept) <= limit
    assert all("!" <= char <= "~" for char in kept)
