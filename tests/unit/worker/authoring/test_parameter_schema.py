"""How parameters are shown: JSON Schema whole, Andera's map as far as it goes."""

from __future__ import annotations

from datetime import date
from enum import Enum, IntEnum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from worker.authoring.signature import read_signature


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class User(BaseModel):
    age: int


def many(
    text: Annotated[str, Field(min_length=2, max_length=20, pattern="^W")] = "World",
    whole: Annotated[int, Field(ge=1, le=9)] = 3,
    past: Annotated[int, Field(gt=0, lt=10)] = 3,
    real: Annotated[float, Field(ge=0.5, lt=10)] = 3,
    yes: bool = True,
    items: Annotated[list[int], Field(min_length=1, max_length=5)] = [1],  # noqa: B006  # shown, not used
    table: Annotated[dict[str, int], Field(max_length=2)] = {},  # noqa: B006  # the same
    color: Color = Color.RED,
    level: Level | None = None,
    mode: Literal["a", "b"] = "a",
    only: Literal["x"] = "x",
    mixed: Literal["a", 1] = "a",
    count: Literal[1, None] = None,
    either: int | str = 1,
    numeric: int | float = 1,
    flag: Literal[True] = True,
    user: User | None = None,
    day: date | None = None,
    anything: object = None,
    maybe: Annotated[int, Field(ge=1)] | None = None,
) -> None: ...


PARAMS = read_signature(many, "many").params


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("text", {"type": "string", "default": "World", "pattern": "^W", "min": 2, "max": 20}),
        ("whole", {"type": "number", "default": 3, "min": 1, "max": 9}),
        ("past", {"type": "number", "default": 3, "min": 1, "max": 9}),
        ("real", {"type": "number", "default": 3, "min": 0.5}),
        ("yes", {"type": "boolean", "default": True}),
        ("items", {"type": "array", "default": [1], "min": 1, "max": 5}),
        ("table", {"type": "object", "default": {}, "max": 2}),
        ("color", {"type": "string", "default": "red", "enum": ["red", "blue"]}),
        ("level", {"type": "number", "default": None, "enum": [1, 2]}),
        ("mode", {"type": "string", "default": "a", "enum": ["a", "b"]}),
        ("only", {"type": "string", "default": "x", "enum": ["x"]}),
        ("mixed", {"type": "any", "default": "a", "enum": ["a", 1]}),
        ("count", {"type": "number", "default": None, "enum": [1, None]}),
        ("either", {"type": "any", "default": 1}),
        ("numeric", {"type": "number", "default": 1}),
        ("flag", {"type": "boolean", "default": True, "enum": [True]}),
        ("user", {"type": "object", "default": None}),
        ("day", {"type": "string", "default": None}),
        ("anything", {"type": "any", "default": None}),
        ("maybe", {"type": "number", "default": None, "min": 1}),
    ],
)
def test_a_parameter_is_shown_as_andera_shows_it(name: str, shown: dict[str, object]) -> None:
    """Type, default, enum, pattern, min and max; an exclusive bound only where it has an inclusive form."""
    assert PARAMS[name] == shown


def test_required_is_said_only_when_true() -> None:
    """As observed of Andera: `{"ms": {"type": "number", "required": true}}`."""

    def slow(ms: float) -> None: ...

    assert read_signature(slow, "slow").params == {"ms": {"type": "number", "required": True}}


def test_no_parameters_is_an_empty_object() -> None:
    """A function without parameters has an empty map and a schema that allows nothing."""

    def short() -> None: ...

    signature = read_signature(short, "short")
    assert signature.params == {}
    assert signature.input_schema == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_the_json_schema_has_everything_and_no_made_up_titles() -> None:
    """Nested models are definitions; a title is there only when the author gave one."""

    def greet(user: User, name: Annotated[str, Field(title="Your name")] = "World") -> None: ...

    assert read_signature(greet, "greet").input_schema == {
        "type": "object",
        "properties": {
            "user": {"$ref": "#/$defs/User"},
            "name": {"type": "string", "title": "Your name", "default": "World"},
        },
        "required": ["user"],
        "additionalProperties": False,
        "$defs": {
            "User": {
                "type": "object",
                "title": "User",
                "properties": {"age": {"type": "integer"}},
                "required": ["age"],
            }
        },
    }


def test_further_parameters_are_shown_as_allowed() -> None:
    """`**more` opens the schema."""

    def loose(**more: object) -> None: ...

    assert read_signature(loose, "loose").input_schema["additionalProperties"] is True
