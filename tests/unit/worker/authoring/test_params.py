"""The check of inputs: the contract's texts, no coercion, nothing but what was declared."""

from __future__ import annotations

import json
import math
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from shared.errors import CabrankError, CallerError, FunctionError, InvalidParams, ParamProblem
from worker.authoring.context import Context
from worker.authoring.signature import read_signature


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class User(BaseModel):
    age: int
    name: str = "Ada"


class Strict(BaseModel, extra="forbid"):
    even: int = 0

    @field_validator("even")
    @classmethod
    def must_be_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


class Buggy(BaseModel):
    n: int = 1

    @model_validator(mode="after")
    def look_up(self) -> Buggy:
        return {1: self}[self.n]  # a bug that is reached only with a good n


def _lookup(key: str) -> str:
    return {"a": "1"}[key]  # a validator with a bug: KeyError for all other keys


def scalars(ms: float, k: int = 1, s: str = "", b: bool = False) -> None: ...
def bounded(
    low: Annotated[int, Field(ge=1)] = 1,
    above: Annotated[float, Field(gt=0.5)] = 1,
    high: Annotated[int, Field(le=10)] = 1,
    below: Annotated[float, Field(lt=3)] = 1,
    text: Annotated[str, Field(min_length=2, max_length=4)] = "ab",
    items: Annotated[list[int], Field(min_length=1, max_length=2)] = [1],  # noqa: B006  # copied by the check
    word: Annotated[str, Field(pattern="^[a-z]+$")] = "a",
    five: Annotated[int, Field(multiple_of=5)] = 5,
) -> None: ...
def chosen(
    color: Color = Color.RED,
    level: Level = Level.LOW,
    mode: Literal["a", 3, -1, None] = "a",
    number: Literal[1, 2] = 1,
) -> None: ...
def nested(
    user: User | None = None,
    items: list[User | int] | None = None,
    table: dict[str, list[int]] | None = None,
    pair: tuple[int, str] | None = None,
    strict: Strict | None = None,
) -> None: ...
def special(
    day: date | None = None,
    wait: timedelta | None = None,
    uid: UUID | None = None,
    raw: bytes = b"",
    money: Decimal = Decimal(0),
    tags: set[str] | None = None,
    either: int | str = 0,
    anything: object = None,
) -> None: ...
def none() -> None: ...
def open_ended(a: int = 0, *, ctx: Context, **more: object) -> None: ...
def broken(
    buggy: Buggy | None = None, key: Annotated[str, AfterValidator(_lookup)] = "a"
) -> None: ...


CHECKS = {
    handler.__name__: read_signature(handler, handler.__name__).checker.check
    for handler in (scalars, bounded, chosen, nested, special, none, open_ended, broken)
}

BAD: list[tuple[str, dict[str, object], str]] = [
    ("scalars", {}, "Missing required param: ms"),
    ("scalars", {"ms": 1, "x": 1}, "Unexpected param: x"),
    ("scalars", {"ms": "40"}, "Invalid type for param: ms, expected number"),
    ("scalars", {"ms": True}, "Invalid type for param: ms, expected number"),
    ("scalars", {"ms": None}, "Invalid type for param: ms, expected number"),
    ("scalars", {"ms": 1, "k": "40"}, "Invalid type for param: k, expected number"),
    ("scalars", {"ms": 1, "k": True}, "Invalid type for param: k, expected number"),
    ("scalars", {"ms": 1, "k": 1.5}, "Invalid type for param: k, expected integer"),
    ("scalars", {"ms": 1, "s": 3}, "Invalid type for param: s, expected string"),
    ("scalars", {"ms": 1, "b": 1}, "Invalid type for param: b, expected boolean"),
    ("scalars", {"ms": 1, "b": "true"}, "Invalid type for param: b, expected boolean"),
    ("bounded", {"low": 0}, "Value for param: low must be >= 1"),
    ("bounded", {"above": 0.5}, "Value for param: above must be > 0.5"),
    ("bounded", {"high": 11}, "Value for param: high must be <= 10"),
    ("bounded", {"below": 3}, "Value for param: below must be < 3"),
    ("bounded", {"text": "a"}, "Length of param: text must be >= 2"),
    ("bounded", {"text": "abcde"}, "Length of param: text must be <= 4"),
    ("bounded", {"items": []}, "Length of param: items must be >= 1"),
    ("bounded", {"items": [1, 2, 3]}, "Length of param: items must be <= 2"),
    ("bounded", {"word": "A"}, "Invalid format for param: word, does not match pattern ^[a-z]+$"),
    ("bounded", {"five": 7}, "Invalid value for param: five, expected a multiple of 5"),
    ("chosen", {"color": "x"}, 'Invalid value for param: color, expected one of ["red", "blue"]'),
    ("chosen", {"color": 1}, 'Invalid value for param: color, expected one of ["red", "blue"]'),
    ("chosen", {"level": 3}, "Invalid value for param: level, expected one of [1, 2]"),
    ("chosen", {"mode": "b"}, 'Invalid value for param: mode, expected one of ["a", 3, -1, null]'),
    ("nested", {"user": {}}, "Missing required param: user.age"),
    ("nested", {"user": {"age": "3"}}, "Invalid type for param: user.age, expected number"),
    ("nested", {"user": 3}, "Invalid type for param: user, expected object"),
    ("nested", {"items": 3}, "Invalid type for param: items, expected array"),
    ("nested", {"items": [1, "x"]}, "Invalid type for param: items.1, expected object or number"),
    ("nested", {"table": {"a": [1, "x"]}}, "Invalid type for param: table.a.1, expected number"),
    ("nested", {"pair": [1]}, "Missing required param: pair.1"),
    ("nested", {"strict": {"odd": 1}}, "Unexpected param: strict.odd"),
    ("nested", {"strict": {"even": 3}}, "Invalid value for param: strict.even, must be even"),
    ("special", {"day": 3}, "Invalid type for param: day, expected string"),
    ("special", {"wait": 3}, "Invalid type for param: wait, expected string"),
    ("special", {"raw": 3}, "Invalid type for param: raw, expected string"),
    ("special", {"money": True}, "Invalid type for param: money, expected number"),
    ("special", {"tags": "a"}, "Invalid type for param: tags, expected array"),
    ("special", {"either": 1.5}, "Invalid type for param: either, expected integer or string"),
    ("special", {"either": None}, "Invalid type for param: either, expected number or string"),
    ("none", {"x": 1}, "Unexpected param: x"),
    ("open_ended", {"ctx": 1}, "Unexpected param: ctx"),
]


@pytest.mark.parametrize(("handler", "value", "text"), BAD)
def test_the_first_problem_is_told_in_the_contract_words(
    handler: str, value: dict[str, object], text: str
) -> None:
    """The message, the only detail and the code are those of contract §2."""
    with pytest.raises(InvalidParams) as caught:
        CHECKS[handler](json.dumps(value).encode())
    assert str(caught.value) == text
    assert [detail["problem"] for detail in caught.value.details] == [text]
    assert caught.value.code == "invalid_params"


@pytest.mark.parametrize(("handler", "value", "text"), BAD)
def test_a_mapping_is_checked_like_its_json(
    handler: str, value: dict[str, object], text: str
) -> None:
    """The two forms of an input cannot be told apart by their refusals."""
    with pytest.raises(InvalidParams) as caught:
        CHECKS[handler](value)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("value", "param", "start"),
    [
        ({"day": "2024-13-01"}, "day", "expected a valid date"),
        ({"uid": "zz"}, "uid", "expected a valid UUID"),
        ({"raw": "a"}, "raw", "expected valid base64"),
        ({"money": "abc"}, "money", "expected a valid decimal"),
    ],
)
def test_a_malformed_text_is_an_invalid_value(
    value: dict[str, object], param: str, start: str
) -> None:
    """A text of the right type and the wrong form says which form is expected."""
    with pytest.raises(InvalidParams) as caught:
        CHECKS["special"](value)
    assert str(caught.value).startswith(f"Invalid value for param: {param}, {start}")


def test_all_problems_are_told_in_the_order_of_declaration() -> None:
    """Declared parameters come in their order, unexpected ones last in the order of the input."""
    with pytest.raises(InvalidParams) as caught:
        CHECKS["scalars"](b'{"z": 1, "b": 0, "k": 1.5, "y": 1}')
    assert caught.value.details == (
        {"param": "ms", "problem": "Missing required param: ms"},
        {"param": "k", "problem": "Invalid type for param: k, expected integer"},
        {"param": "b", "problem": "Invalid type for param: b, expected boolean"},
        {"param": "z", "problem": "Unexpected param: z"},
        {"param": "y", "problem": "Unexpected param: y"},
    )


@pytest.mark.parametrize(
    ("handler", "value", "expected"),
    [
        ("scalars", {"ms": 1, "k": 2.0}, {"ms": 1.0, "k": 2, "s": "", "b": False}),
        (
            "nested",
            {"items": [2.0, {"age": 3.0}], "table": {"a": [1.0]}, "pair": [4.0, "x"]},
            {
                "user": None,
                "items": [2, User(age=3)],
                "table": {"a": [1]},
                "pair": (4, "x"),
                "strict": None,
            },
        ),
        (
            "chosen",
            {"color": "blue", "level": 2.0, "mode": None, "number": 2.0},
            {"color": Color.BLUE, "level": Level.HIGH, "mode": None, "number": 2},
        ),
        (
            "special",
            {
                "day": "2024-02-29",
                "wait": "PT90S",
                "uid": "12345678-1234-5678-1234-567812345678",
                "raw": "aGk+/w==",
                "money": "1.10",
                "tags": ["a", "a"],
                "either": "1",
                "anything": {"x": 1.0},
            },
            {
                "day": date(2024, 2, 29),
                "wait": timedelta(seconds=90),
                "uid": UUID("12345678-1234-5678-1234-567812345678"),
                "raw": b"hi>\xff",
                "money": Decimal("1.10"),
                "tags": {"a"},
                "either": "1",
                "anything": {"x": 1.0},
            },
        ),
        ("open_ended", {"a": 1, "more": 2, "x": [None]}, {"a": 1, "more": 2, "x": [None]}),
    ],
)
def test_a_good_input_becomes_python_values(
    handler: str, value: dict[str, object], expected: dict[str, object]
) -> None:
    """JSON's one number type and its usual forms of other types are understood, defaults filled in."""
    found = CHECKS[handler](json.dumps(value).encode())
    assert found == expected
    assert [type(found[name]) for name in expected] == [type(expected[name]) for name in expected]


@pytest.mark.parametrize("raw", [None, {}, b"{}", b"null", b" {} ", b" null"])
def test_no_input_is_an_empty_object(raw: bytes | dict[str, object] | None) -> None:
    """Omitted and null are {}."""
    assert CHECKS["none"](raw) == {}
    assert CHECKS["chosen"](raw)["number"] == 1


@pytest.mark.parametrize("raw", [b"[1]", b'"x"', b"1", b"true"])
def test_an_input_must_be_an_object(raw: bytes) -> None:
    """Another JSON value is invalid_input."""
    with pytest.raises(CallerError, match=r"Invalid input: must be an object") as caught:
        CHECKS["none"](raw)
    assert caught.value.code == "invalid_input"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"ms": NaN}',
        b'{"ms": -Infinity}',
        b'{"ms": 1, "x": NaN}',
        b'{"ms": 1}x',
        b'{"s": "\xff"}',
        b"[" * 100_000,
        b'{"ms": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_json_is_invalid_json(raw: bytes) -> None:
    """NaN and Infinity are not JSON, and nesting without end is refused without harm."""
    with pytest.raises(CabrankError) as caught:
        CHECKS["scalars"](raw)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize("word", ["NaN", "Infinity"])
def test_the_constants_are_refused_in_a_parameter_of_any_type(word: str) -> None:
    """What pydantic would let pass as any value is refused, the same word in a text is not."""
    with pytest.raises(CabrankError) as caught:
        CHECKS["special"](f'{{"anything": [{word}]}}'.encode())
    assert caught.value.code == "invalid_json"
    assert CHECKS["special"](f'{{"anything": "{word}"}}'.encode())["anything"] == word


def test_a_mapping_without_json_form_is_invalid_input() -> None:
    """A Python value that JSON cannot carry is refused as the caller's mistake."""
    with pytest.raises(CabrankError) as caught:
        CHECKS["special"]({"anything": object()})
    assert caught.value.code == "invalid_input"
    with pytest.raises(CabrankError) as caught:
        CHECKS["special"]({"anything": math.nan})
    assert caught.value.code == "invalid_json"


def test_a_validator_with_a_bug_is_the_functions_failure() -> None:
    """The caller is not blamed for an exception that says nothing about the input."""
    assert CHECKS["broken"](b"{}") == {"buggy": None, "key": "a"}
    for raw in (b'{"key": "b"}', b'{"buggy": {"n": 2}}', b'{"buggy": {"n": 2.0}}'):
        with pytest.raises(FunctionError, match="Checking the input failed") as caught:
            CHECKS["broken"](raw)
        assert caught.value.failure.error_type == "KeyError"


def test_whole_floats_hide_no_other_problem() -> None:
    """What is accepted as an integer is left out, the rest is told."""
    with pytest.raises(InvalidParams) as caught:
        CHECKS["scalars"](b'{"ms": 1, "k": 2.0, "b": 0}')
    assert [detail["param"] for detail in caught.value.details] == ["b"]


def test_details_are_bounded() -> None:
    """A body full of mistakes does not become an answer full of them, nor eat the memory."""
    with pytest.raises(InvalidParams) as caught:
        CHECKS["nested"](json.dumps({"table": {"a": ["x"] * 5000}}).encode())
    assert len(caught.value.details) == 100
    assert str(caught.value) == "Invalid type for param: table.a.0, expected number"
    with pytest.raises(InvalidParams, match="Invalid input: 20000 values are invalid"):
        CHECKS["nested"](json.dumps({"table": {"a": ["x"] * 20000}}).encode())
    with pytest.raises(InvalidParams) as caught:
        CHECKS["none"]({"n" * 5000: 1})
    assert len(str(caught.value)) < 300


def test_a_default_is_a_fresh_object_each_time() -> None:
    """A function that changes its default list changes nobody else's."""
    first = CHECKS["bounded"](b"{}")["items"]
    assert isinstance(first, list)
    first.append(2)  # pyright: ignore[reportUnknownMemberType]  # of no declared element type
    assert CHECKS["bounded"](b"{}")["items"] == [1]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
named = st.dictionaries(
    st.sampled_from(["ms", "k", "s", "b", "user", "items", "strict", "either", "x"]),
    json_values | st.fixed_dictionaries({"age": json_values}),
)


@given(value=named, handler=st.sampled_from(list(CHECKS)))
def test_any_json_object_is_accepted_or_refused_with_a_reason(
    value: dict[str, object], handler: str
) -> None:
    """No input breaks the check, and every refusal names a parameter of the input or a missing one."""
    answers = [_answer(handler, json.dumps(value).encode()), _answer(handler, value)]
    assert answers[0] == answers[1]
    if isinstance(answers[0], tuple):
        assert answers[0]
        assert all(
            detail["param"] and detail["param"] in detail["problem"] for detail in answers[0]
        )


def _answer(
    handler: str, raw: bytes | dict[str, object]
) -> dict[str, object] | tuple[ParamProblem, ...]:
    try:
        return CHECKS[handler](raw)
    except InvalidParams as error:
        return error.details


@given(k=st.integers(-(2**53), 2**53), ms=st.integers(-(2**53), 2**53))
def test_a_whole_float_is_the_integer(k: int, ms: int) -> None:
    """`1.0` and `1` are one number, whichever the parameter wants."""
    found = CHECKS["scalars"](f'{{"k": {k}.0, "ms": {ms}}}'.encode())
    assert (found["k"], found["ms"]) == (k, float(ms))
    assert isinstance(found["k"], int)
    assert isinstance(found["ms"], float)
