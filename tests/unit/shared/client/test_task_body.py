"""The body of `POST /task`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest

from shared.client.task_body import encode_body, input_of, webhook_of
from shared.errors import CallerError


def test_keywords_are_the_input() -> None:
    """`call("f", a=1)` sends `{"a": 1}`."""
    assert input_of(None, {"a": 1}) == {"a": 1}
    assert input_of(None, {}) == {}


def test_a_mapping_is_the_input() -> None:
    """Names that the client uses itself go in by a mapping."""
    assert input_of({"priority": 1}, {}) == {"priority": 1}


def test_both_are_a_mistake() -> None:
    """Nobody has to guess which of two inputs wins."""
    with pytest.raises(CallerError) as caught:
        input_of({"a": 1}, {"b": 2})
    assert caught.value.code == "invalid_input"


def test_what_is_none_is_left_out() -> None:
    """Options that are not given are the server's to choose; values inside the input stay."""
    body = encode_body({"function": "f", "priority": None, "input": {"a": None}})
    assert json.loads(body) == {"function": "f", "input": {"a": None}}


@pytest.mark.parametrize("value", [math.nan, math.inf, b"bytes", object(), {1, 2}])
def test_what_json_cannot_carry_is_said(value: object) -> None:
    """A value that would arrive as something else is refused before it is sent."""
    with pytest.raises(CallerError) as caught:
        encode_body({"input": {"a": value}})
    assert caught.value.code == "invalid_input"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, None),
        ("http://h/x", {"url": "http://h/x"}),
        ({"url": "http://h/x", "envelope": True}, {"url": "http://h/x", "envelope": True}),
    ],
)
def test_a_url_is_a_webhook(given: str | None, sent: Mapping[str, object] | None) -> None:
    """A URL alone is enough; a whole target is sent as it is."""
    assert webhook_of(given) == sent
