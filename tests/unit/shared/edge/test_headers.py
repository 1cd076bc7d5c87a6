"""What the edge reads from headers: durability, resume, correlation ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.headers import EdgeHeaders, is_durable, sanitised_correlation_id
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
