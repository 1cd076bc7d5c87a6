"""Inputs of durable tasks against announced schemas: the worker's own texts."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from balancer.fleet.input_schema import MAX_PROBLEMS, InputSchemas
from shared.capability import FunctionSpec

SCHEMA: dict[str, object] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["ms"],
    "properties": {
        "ms": {"type": "number", "minimum": 1},
        "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
        "kind": {"enum": ["a", "b"]},
        "count": {"type": "integer"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "user": {
            "type": "object",
            "required": ["age"],
            "properties": {"age": {"type": "integer"}},
        },
    },
}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"{}", "Missing required param: ms"),
        (b'{"ms":1,"k":2}', "Unexpected param: k"),
        (b'{"ms":"40"}', "Invalid type for param: ms, expected number"),
        (b'{"ms":true}', "Invalid type for param: ms, expected number"),
        (b'{"ms":0}', "Value for param: ms must be >= 1"),
        (b'{"ms":1,"name":"a"}', "Length of param: name must be >= 2"),
        (b'{"ms":1,"name":"abcdef"}', "Length of param: name must be <= 5"),
        (
            b'{"ms":1,"name":"AB"}',
            "Invalid format for param: name, does not match pattern ^[a-z]+$",
        ),
        (b'{"ms":1,"kind":"c"}', 'Invalid value for param: kind, expected one of ["a", "b"]'),
        (b'{"ms":1,"count":1.5}', "Invalid type for param: count, expected integer"),
        (b'{"ms":1,"count":"x"}', "Invalid type for param: count, expected number"),
        (b'{"ms":1,"maybe":"x"}', "Invalid type for param: maybe, expected number or null"),
        (b'{"ms":1,"user":{}}', "Missing required param: user.age"),
        (b'{"ms":1,"user":{"age":"x"}}', "Invalid type for param: user.age, expected number"),
    ],
)
def test_problems_read_as_the_workers(raw: bytes, problem: str) -> None:
    """Each rule of a schema gives the contract's text and the parameter's name."""
    failed = InputSchemas().check(FunctionSpec(name="f", input_schema=SCHEMA), raw)
    assert failed is not None
    assert (failed.code, failed.message) == ("invalid_params", problem)
    assert failed.details[0]["problem"] == problem
    assert failed.details[0]["param"] in problem


@pytest.mark.parametrize("raw", [b'{"ms":1}', b'{"ms":2.5,"count":1.0,"maybe":null}'])
def test_good_inputs_pass(raw: bytes) -> None:
    """What fits passes; 1.0 is an integer."""
    assert InputSchemas().check(FunctionSpec(name="f", input_schema=SCHEMA), raw) is None


def test_unusable_or_missing_schemas_leave_the_check_to_the_worker() -> None:
    """A worker that announces no schema, or nonsense, checks its own input."""
    schemas = InputSchemas()
    assert schemas.check(FunctionSpec(name="f"), b'{"a":1}') is None
    assert schemas.check(FunctionSpec(name="f", input_schema={"type": 5}), b'{"a":1}') is None


def test_changed_schemas_are_compiled_anew() -> None:
    """The compiled schema belongs to what was announced, not to the name."""
    schemas = InputSchemas()
    first = FunctionSpec(name="f", input_schema={"type": "object", "required": ["a"]})
    second = FunctionSpec(name="f", input_schema={"type": "object", "required": ["b"]})
    assert schemas.check(first, b'{"a":1}') is None
    assert schemas.check(second, b'{"a":1}') is not None


def _spec(schema: dict[str, object]) -> FunctionSpec:
    return FunctionSpec(name="f", input_schema=schema)


def test_a_pattern_costs_no_more_than_its_text_is_long() -> None:
    """Nested repetition takes Python's engine for ever; one caller would stop the whole balancer."""
    schema = _spec({"properties": {"s": {"type": "string", "pattern": r"^(\w+\s?)+$"}}})
    found = InputSchemas().check(schema, b'{"s":"' + b"a" * 10_000 + b'!"}')
    assert found is not None
    assert found.message.startswith("Invalid format for param: s")


def test_a_pattern_is_the_worker_s_own() -> None:
    """Classes that Python's engine does not know pass and refuse as they do on the worker."""
    schema = _spec({"properties": {"s": {"type": "string", "pattern": r"^\p{L}+$"}}})
    assert InputSchemas().check(schema, '{"s":"ä"}'.encode()) is None
    assert InputSchemas().check(schema, b'{"s":"1"}') is not None


def test_nothing_is_fetched_for_a_schema() -> None:
    """A worker must not make the balancer call a URL or read a file."""
    asked: list[str] = []

    class Asked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Asked) as server:
        schema = _spec({"$ref": f"http://127.0.0.1:{server.server_port}/schema.json"})
        server.timeout = 0
        assert InputSchemas().check(schema, b"{}") is None
        server.handle_request()
    assert asked == []


@pytest.mark.parametrize(
    "raw", [b'{"a":' + b"9" * 5000 + b"}", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"]
)
def test_json_that_python_does_not_read_is_refused(raw: bytes) -> None:
    """As the worker would, not as a bug of ours."""
    found = InputSchemas().check(_spec({"type": "object"}), raw)
    assert found is not None
    assert found.code == "invalid_json"


def test_a_schema_that_refers_to_itself_is_left_to_its_worker() -> None:
    """It has no end."""
    assert InputSchemas().check(_spec({"$ref": "#"}), b"{}") is None


def test_problems_are_told_up_to_a_bound() -> None:
    """A list of a hundred thousand wrong items is one mistake."""
    schema = _spec({"properties": {"v": {"type": "array", "items": {"type": "integer"}}}})
    found = InputSchemas().check(schema, b'{"v":[' + b'"x",' * 5000 + b'"x"]}')
    assert found is not None
    assert len(found.details) == MAX_PROBLEMS
