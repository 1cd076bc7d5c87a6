"""A function's input from the command line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cabrank.cli.parameters import parse_input, parse_value
from shared.errors import CallerError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Ada", "Ada"),
        ("", ""),
        ("3", 3),
        ("3.5", 3.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ('"3"', "3"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("3 apples", "3 apples"),
        ("{not json", "{not json"),
    ],
)
def test_values(text: str, value: object) -> None:
    """What is JSON is taken as JSON, everything else as text."""
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(JSON)
def test_any_json_value_can_be_given(value: object) -> None:
    """Written as JSON, a value arrives as itself; a text too, in its quotes."""
    assert parse_input([f"v={json.dumps(value)}"], None) == {"v": value}


def test_pairs_go_over_the_whole() -> None:
    """--input gives many parameters, a pair changes one of them."""
    assert parse_input(["b=3", "c=x=y"], '{"a": 1, "b": 2}') == {"a": 1, "b": 3, "c": "x=y"}


@pytest.mark.parametrize(
    ("pairs", "whole"),
    [(["name"], None), (["=1"], None), ([], "[1]"), ([], "{"), ([], '{"a": NaN}'), ([], "")],
)
def test_mistakes_are_said(pairs: list[str], whole: str | None) -> None:
    """A pair without a name and an input that is no object are refused."""
    with pytest.raises(CallerError):
        parse_input(pairs, whole)
