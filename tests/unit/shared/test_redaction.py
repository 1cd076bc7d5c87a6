"""Secrets stay out of logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.redaction import REDACTED, redacted, redacted_text

KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "Authorization", "x-lb-auth", "x_wr_auth", "auth_key", "lb_auth_key", "worker_key",
        "AUTH_KEY", "api-key", "webhook_secret", "client-secret", "secret", "password", "db_password",
        "cookie", "Set-Cookie", "access_token", "refresh-token", "idempotency_key",
    ],
)  # fmt: skip
def test_a_field_with_a_secret_s_name_is_hidden(name: str) -> None:
    """Whatever its value looks like, at any depth."""
    assert redacted({name: "open"}) == {name: REDACTED}
    assert redacted({"headers": [{name: "open", "a": 1}]}) == {
        "headers": [{name: REDACTED, "a": 1}]
    }


@pytest.mark.parametrize(
    "name",
    ["token", "task_id", "key", "keyboard", "function", "author", "monkey", "correlation_id"],
)
def test_other_names_are_shown(name: str) -> None:
    """A fencing token is no secret, and a log without names is of no use."""
    assert redacted({name: "open"}) == {name: "open"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
        ("bearer ABC, next", "[redacted], next"),
        (f"key {KEY} here", "key [redacted] here"),
        ("whsec_C2FVsBQIhrscChlQIMV+b5s=", "[redacted]"),
        ("eyJhbGciOi.eyJzdWIi.sig-1_2", "[redacted]"),
        ("redis://user:pa55@host:6379/0", "redis://[redacted]@host:6379/0"),
        (
            "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        ),
        ("task 0123456789abcdef-1f", "task 0123456789abcdef-1f"),
        ("http://host/a@b", "http://host/a@b"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_any_text(text: str, shown: str) -> None:
    """In messages and in values alike; ids and commits stay readable."""
    assert redacted_text(text) == shown
    assert redacted({"text": text, "list": [text]}) == {"text": shown, "list": [shown]}


@pytest.mark.parametrize(("log_input", "shown"), [(False, REDACTED), (True, {"name": "Ada"})])
def test_an_input_is_shown_only_when_its_function_says_so(log_input: bool, shown: object) -> None:
    """Inputs are never logged in clear by default (fault 20)."""
    assert redacted({"input": {"name": "Ada"}}, log_input=log_input) == {"input": shown}


def test_an_input_that_may_be_shown_still_hides_secrets() -> None:
    """`log_input=True` is no leave for passwords."""
    assert redacted({"input": {"password": "x"}}, log_input=True) == {
        "input": {"password": REDACTED}
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (1, 1),
        (1.5, 1.5),
        (True, True),
        (b"abc", "<3 bytes>"),
        (ValueError("Bearer x"), "[redacted]"),
    ],
)
def test_plain_values_stay_and_others_become_text(value: object, shown: object) -> None:
    """What a log can carry; bytes only by their number."""
    assert redacted({"value": value}) == {"value": shown}


def test_what_is_nested_too_deep_is_cut() -> None:
    """A value that contains itself ends."""
    endless: dict[str, object] = {}
    endless["again"] = endless
    assert str(redacted(endless)).count("again") < 10
    ring: list[object] = []
    ring.append(ring)
    assert REDACTED in str(redacted({"ring": ring}))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())))
def test_no_key_survives(fields: dict[str, object]) -> None:
    """Put anywhere among other texts, a generated key is hidden."""
    assert KEY not in str(redacted({**fields, "extra": f"x {KEY}", "auth_key": KEY}))
