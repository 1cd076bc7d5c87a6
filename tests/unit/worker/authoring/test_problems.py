"""pydantic's errors in the contract's words: where the value is, and which choices it had."""

from __future__ import annotations

import json

import pytest
from pydantic_core import ErrorDetails, PydanticCustomError, ValidationError

from worker.authoring.problems import MAX_PROBLEMS, problems_of, value_path


def _error(
    kind: str, loc: tuple[str | int, ...], given: object = None, **ctx: object
) -> ErrorDetails:
    details = ErrorDetails(type=kind, loc=loc, msg="Input should be this", input=given)
    if ctx:
        details["ctx"] = ctx
    return details


@pytest.mark.parametrize(
    ("loc", "kind", "document", "path"),
    [
        (("a",), "int_type", {"a": "x"}, ["a"]),
        (("a",), "missing", {}, ["a"]),
        (("a", "User", "age"), "missing", {"a": {}}, ["a", "age"]),
        (("a", "int"), "int_type", {"a": "x"}, ["a"]),
        (("a", "list[int]", 1), "int_type", {"a": [1, "x"]}, ["a", 1]),
        (("a", 1), "missing", {"a": [1]}, ["a", 1]),
        (("a", "k", "[key]"), "int_parsing", {"a": {"k": 1}}, ["a", "k"]),
        (("a", "function-after[check(), int]"), "value_error", {"a": 1}, ["a"]),
        ((), "dict_type", [], []),
    ],
)
def test_only_steps_into_the_document_are_part_of_a_path(
    loc: tuple[str | int, ...], kind: str, document: object, path: list[str | int]
) -> None:
    """What pydantic says about its own branches is left out."""
    assert value_path(_error(kind, loc), document) == path


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        ("'a'", '["a"]'),
        ("'a' or 'b'", '["a", "b"]'),
        ("'a', 'b or c' or 'd'", '["a", "b or c", "d"]'),
        ("1, -2 or None", "[1, -2, null]"),
        ("True or 'x'", '[true, "x"]'),
        ("'it\\'s' or \"q\"", '["it\'s", "q"]'),
        ("<Color.RED> or 'x'", "[<Color.RED> or 'x']"),
        ("b'a' or 'x'", "[b'a' or 'x']"),
    ],
)
def test_choices_are_a_json_list(expected: str, shown: str) -> None:
    """pydantic's prose becomes the list of the contract; what has no JSON form stays as it is."""
    (problem,) = problems_of([_error("enum", ("a",), 1, expected=expected)], {"a": 1})
    assert problem["problem"] == f"Invalid value for param: a, expected one of {shown}"


def test_the_branches_of_a_union_are_one_problem() -> None:
    """Refused types are listed once each; a branch that took the type says what it missed."""
    document = {"a": "x"}
    types = [_error("int_type", ("a", "int"), "x"), _error("float_type", ("a", "float"), "x")]
    (problem,) = problems_of([*types, _error("list_type", ("a", "list[int]"), "x")], document)
    assert problem["problem"] == "Invalid type for param: a, expected number or array"
    (problem,) = problems_of(
        [*types, _error("literal_error", ("a", "x"), "x", expected="'auto'")], document
    )
    assert problem["problem"] == 'Invalid value for param: a, expected one of ["auto"]'


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (_error("value_error", ("a",), 1, error=ValueError("is odd")), "is odd"),
        (_error("assertion_error", ("a",), 1, error=AssertionError("is odd")), "is odd"),
        (_error("unknown_kind", ("a",), 1), "expected this"),
        (_error("less_than_equal", ("a",), 1, le=2.0), "must be <= 2"),
        (_error("too_long", ("a",), [], max_length=3), "must be <= 3"),
    ],
)
def test_messages_end_the_sentence(error: ErrorDetails, text: str) -> None:
    """Authors' messages stand as they are, pydantic's lose their beginning."""
    (problem,) = problems_of([error], {"a": 1})
    assert problem["problem"].endswith(text)


def test_a_custom_error_keeps_its_own_message() -> None:
    """An author may raise pydantic's own error with a template."""
    error = ValidationError.from_exception_data(
        "x",
        [{"type": PydanticCustomError("odd", "needs {n}", {"n": 2}), "loc": ("a",), "input": 1}],
    )
    (problem,) = problems_of(error.errors(), json.loads('{"a": 1}'))
    assert problem["problem"] == "Invalid value for param: a, needs 2"


def test_problems_are_bounded() -> None:
    """Only the first hundred values are told about."""
    errors = [_error("int_type", (str(n),), "x") for n in range(MAX_PROBLEMS + 5)]
    found = problems_of(errors, {str(n): "x" for n in range(MAX_PROBLEMS + 5)})
    assert [problem["param"] for problem in found] == [str(n) for n in range(MAX_PROBLEMS)]
