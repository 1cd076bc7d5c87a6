"""Checks of a durable task's input against the schema its function announced, before acceptance.

JSON Schema 2020-12 by the jsonschema library; the texts are the worker's (contract §2), so that a
caller cannot tell by the text who refused.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

from shared.errors import Failure, ParamProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.capability import FunctionSpec

KEPT = 512  # compiled schemas; fleets host tens to hundreds of functions
_TYPES = {"integer": "number"}  # as the worker names them (Andera knows one number type)
_BOUNDS = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
_LENGTHS = {"minLength": ">=", "maxLength": "<=", "minItems": ">=", "maxItems": "<="}


class _Checker(Protocol):
    """What we use of a validator; upstream's own types stop at its instance."""

    def iter_errors(self, instance: object) -> Iterable[ValidationError]:
        """Yield what is wrong with an instance."""
        ...


class InputSchemas:
    """Compiled schemas, the most lately used ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Draft202012Validator | None] = OrderedDict()

    def check(self, spec: FunctionSpec, raw: bytes) -> Failure | None:
        """Return why an input cannot be a function's, or None when it can.

        A function without a schema (an Andera worker's) takes everything: its worker checks.
        """
        validator = self._validator(spec)
        if validator is None:
            return None
        errors = sorted(cast("_Checker", validator).iter_errors(json.loads(raw)), key=_order)
        if not errors:
            return None
        problems = tuple(_problem(error) for error in errors)
        return Failure("invalid_params", problems[0]["problem"], problems)

    def _validator(self, spec: FunctionSpec) -> Draft202012Validator | None:
        if spec.input_schema is None:
            return None
        key = spec.fingerprint()
        if key not in self._kept:
            self._kept[key] = _compiled(spec.input_schema)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _compiled(schema: dict[str, object]) -> Draft202012Validator | None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return None  # a worker that announces nonsense checks its own input
    return Draft202012Validator(schema)


def _order(error: ValidationError) -> tuple[bool, str]:
    return (error.validator == "additionalProperties", ".".join(map(str, error.absolute_path)))


def _problem(error: ValidationError) -> ParamProblem:
    path = [str(step) for step in error.absolute_path]
    rule, limit = str(error.validator), cast("object", error.validator_value)
    if rule == "required":
        missing = error.message.split("'")[1]
        name = ".".join([*path, missing])
        return {"param": name, "problem": f"Missing required param: {name}"}
    if rule == "additionalProperties":
        instance = cast("dict[str, object]", error.instance)
        known = cast(
            "dict[str, object]", cast("dict[str, object]", error.schema).get("properties", {})
        )
        name = ".".join([*path, next(key for key in instance if key not in known)])
        return {"param": name, "problem": f"Unexpected param: {name}"}
    name = ".".join(path)
    return {"param": name, "problem": _text(error, rule, limit, name)}


def _type_name(wanted: object) -> str:
    names = [wanted] if isinstance(wanted, str) else cast("list[str]", wanted)
    return " or ".join(_TYPES.get(name, name) for name in names)


def _text(error: ValidationError, rule: str, limit: object, name: str) -> str:
    if (
        rule == "anyOf"
        and error.context
        and all(part.validator == "type" for part in error.context)
    ):
        wanted = " or ".join(_type_name(part.validator_value) for part in error.context)
        return f"Invalid type for param: {name}, expected {wanted}"
    if rule == "type":
        # A number that is no integer is told so; for all else Andera knows one type of number.
        fraction = limit == "integer" and isinstance(error.instance, float)
        return f"Invalid type for param: {name}, expected {'integer' if fraction else _type_name(limit)}"
    if rule in ("enum", "const"):
        allowed = limit if rule == "enum" else [limit]
        return f"Invalid value for param: {name}, expected one of {json.dumps(allowed)}"
    if rule == "pattern":
        return f"Invalid format for param: {name}, does not match pattern {limit}"
    if rule in _BOUNDS:
        return f"Value for param: {name} must be {_BOUNDS[rule]} {limit}"
    if rule in _LENGTHS:
        return f"Length of param: {name} must be {_LENGTHS[rule]} {limit}"
    return f"Invalid value for param: {name}, {error.message[:200]}"
