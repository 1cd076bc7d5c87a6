"""`worker.api.openapi`: the document describes what the worker takes, and all of it resolves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Protocol, cast

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from worker import Function, function
from worker.api.openapi import document

JsonObject = dict[str, object]


class Colour(StrEnum):
    """Ends up in the definitions of a schema."""

    RED = "red"


class Box(BaseModel):
    """Refers to another definition, and to itself."""

    colour: Colour
    inside: list[Box] = []


@function
async def pack(box: Box, count: Annotated[int, Field(ge=1)] = 1) -> None:
    """Packs.

    More about it.
    """


@function(streaming=True, name="pack:v2")
async def pack_v2(box: Box) -> None:
    """Packs and tells."""


@function(name="pack_v2")
async def other(box: Colour) -> None:
    """Has the name that the other one's becomes, and another definition."""


@function
async def idle(count: int = 1) -> None:
    """Needs no parameter, so no input either."""


def _document(*functions: Function[..., object]) -> JsonObject:
    specs = [each.spec() for each in functions]
    made = document(specs, group="g", contract=3, version="1.2.3")
    copied: JsonObject = json.loads(json.dumps(made))
    return copied


def _at(node: JsonObject, *steps: str) -> JsonObject:
    """Walk into a document."""
    for step in steps:
        node = cast("JsonObject", node[step])
    return node


def _body_schema(made: JsonObject) -> JsonObject:
    return _at(
        made, "paths", "/task", "post", "requestBody", "content", "application/json", "schema"
    )


class _Checker(Protocol):
    """The part of a validator that is used here; the library's types know only some JSON."""

    def is_valid(self, instance: object) -> bool:
        """Tell whether a value fits."""
        ...


def _refs(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in cast("JsonObject", node).items():
            if key == "$ref":
                yield str(value)
            yield from _refs(value)
    elif isinstance(node, list):
        for value in cast("list[object]", node):
            yield from _refs(value)


def _fits(made: JsonObject, body: JsonObject) -> bool:
    """Tell whether a body is one of `POST /task`; references are those of the document."""
    schema = {**_body_schema(made), "components": made["components"]}
    Draft202012Validator.check_schema(schema)
    return cast("_Checker", Draft202012Validator(schema)).is_valid(body)


def test_every_reference_leads_somewhere() -> None:
    """No reference points to what the document lacks, none to a schema outside of it."""
    made = _document(pack, pack_v2, other)
    refs = set(_refs(made))
    assert refs
    for ref in refs:
        assert ref.startswith("#/")
        assert _at(made, *ref.removeprefix("#/").split("/"))


def test_names_of_components_are_allowed_ones() -> None:
    """OpenAPI allows letters, digits and `. - _`; a function's name may have more."""
    schemas = _at(_document(pack_v2), "components", "schemas")
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)


RED = {"colour": "red"}
BODIES: list[tuple[JsonObject, bool]] = [
    ({"function": "pack", "contract": 3, "input": {"box": RED}}, True),
    ({"function": "pack", "contract": 3, "input": {"box": {**RED, "inside": [RED]}, "count": 2}}, True),
    ({"function": "pack", "contract": 3, "input": {"box": {**RED, "inside": [{}]}}}, False),
    ({"function": "pack", "contract": 3, "input": {"box": RED, "count": 0}}, False),
    ({"function": "pack", "contract": 3, "input": {"box": RED, "x": 0}}, False),
    ({"function": "pack", "contract": 3, "input": {}}, False),
    ({"function": "pack", "contract": 2, "input": {"box": RED}}, False),
    ({"function": "pack", "contract": 3, "input": {"box": RED}, "mode": "stream"}, False),
    ({"function": "pack:v2", "contract": 3, "input": {"box": RED}, "mode": "stream"}, True),
    ({"function": "pack_v2", "contract": 3, "input": {"box": "red"}}, True),
    ({"function": "pack_v2", "contract": 3, "input": {"box": RED}}, False),
    ({"function": "nope", "contract": 3}, False),
    ({"contract": 3, "input": {"box": RED}}, False),
    ({"function": "pack", "contract": 3, "input": {"box": RED}, "priority": 0}, False),
    ({"function": "pack", "contract": 3, "input": {"box": RED}, "webhook": {}}, False),
    ({"function": "pack", "contract": 3, "input": {"box": RED}, "webhook": {"url": "http://h/"}}, True),
    ({"function": "pack", "contract": 3}, False),
    ({"function": "pack", "contract": 3, "input": {"box": RED}, "mode": "webhook"}, False),
    ({"function": "pack", "contract": 3, "input": {"box": RED}, "timeout_s": None, "group": None}, True),
    ({"function": "pack", "contract": 3, "input": {"box": RED}, "max_attempts": 1001}, False),
    ({"function": "idle", "contract": 3, "input": None, "max_attempts": None}, True),
    ({"function": "idle", "contract": 3}, True),
]  # fmt: skip


@pytest.mark.parametrize(("body", "fits"), BODIES, ids=lambda value: json.dumps(value)[:70])
def test_the_schema_takes_what_the_worker_takes(body: JsonObject, fits: bool) -> None:
    """A body fits exactly one function's alternative, or none."""
    assert _fits(_document(pack, pack_v2, other, idle), body) is fits


def test_a_worker_without_functions_has_a_document_too() -> None:
    """Its body is that of any task."""
    assert _body_schema(_document()) == {"$ref": "#/components/schemas/Task"}


def test_it_says_whose_it_is() -> None:
    """Group, contract and version stand in `info`."""
    made = _document(pack)
    info = _at(made, "info")
    assert made["openapi"] == "3.1.0"
    assert (info["version"], info["title"]) == ("1.2.3", "Cabrank worker, group g, contract 3")


def test_the_error_table_is_in_the_responses() -> None:
    """Codes of one status stand together."""
    responses = _at(_document(pack), "paths", "/task", "post", "responses")
    assert responses.keys() >= {
        "200",
        "400",
        "401",
        "404",
        "413",
        "429",
        "500",
        "502",
        "503",
        "504",
    }
    assert _at(responses, "429")["description"] == "`queue_full`"


def test_schemas_of_functions_are_not_changed() -> None:
    """Making the document leaves what the functions announce as it was."""
    before = json.dumps(pack.spec().wire())
    _document(pack)
    assert json.dumps(pack.spec().wire()) == before
