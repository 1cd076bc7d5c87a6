"""Checks of a durable task's input against the schema its function announced, before acceptance.

JSON Schema 2020-12 by the jsonschema library; the texts are the worker's (contract §2), so that a
caller cannot tell by the text who refused. A schema comes from a worker and an input from a caller:
neither may make the balancer fetch anything, nor compute for long. Patterns run on the engine that the
worker's own check has (Rust's, linear in time), not on Python's, which backtracks.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Protocol, cast

from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import SchemaError, ValidationError
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from referencing import Registry
from referencing.exceptions import Unresolvable

from shared.errors import Failure, ParamProblem, failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.capability import FunctionSpec

MAX_PROBLEMS = 100  # told of one input; the first is what a caller reads
CHECKED_AT_ONCE = 16 * 1024  # bytes of input that are checked on the loop: about a millisecond
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
        # By identity, because a schema as text costs more than most checks; the spec is kept with
        # its validator, so that nothing else can get its identity meanwhile.
        self._kept: OrderedDict[int, tuple[FunctionSpec, Draft202012Validator | None]] = (
            OrderedDict()
        )
        self._lock = Lock()

    async def problem(self, spec: FunctionSpec | None, raw: bytes) -> Failure | None:
        """Do what `check` does; a large input is checked in a thread, so that nobody else waits."""
        if spec is None:
            return None
        if len(raw) <= CHECKED_AT_ONCE:
            return self.check(spec, raw)
        return await asyncio.to_thread(self.check, spec, raw)

    def check(self, spec: FunctionSpec, raw: bytes) -> Failure | None:
        """Return why an input cannot be a function's, or None when it can.

        A function without a schema (an Andera worker's) takes everything: its worker checks.
        """
        validator = self._validator(spec)
        if validator is None:
            return None
        try:
            given: object = json.loads(raw)
        except (ValueError, RecursionError):  # numbers of more digits than Python reads, for one
            return failure("invalid_json")
        found = cast("_Checker", validator).iter_errors(given)
        try:
            errors = sorted(islice(found, MAX_PROBLEMS), key=_order)
        except (Unresolvable, RecursionError, ArithmeticError):
            return None  # a worker that announces nonsense checks its own input
        if not errors:
            return None
        problems = tuple(_problem(error) for error in errors)
        return Failure("invalid_params", problems[0]["problem"], problems)

    def _validator(self, spec: FunctionSpec) -> Draft202012Validator | None:
        if spec.input_schema is None:
            return None
        with self._lock:
            kept = self._kept.get(id(spec))
            if kept is None:
                kept = self._kept[id(spec)] = (spec, _compiled(spec.input_schema))
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(id(spec))
            return kept[1]


def _compiled(schema: dict[str, object]) -> Draft202012Validator | None:
    try:
        # Without formats: they would judge patterns by Python's engine.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(()))
    except SchemaError:
        return None  # a worker that announces nonsense checks its own input
    # An empty registry: what a `$ref` names elsewhere is not fetched.
    return _Validator(schema, registry=Registry())


def _pattern(
    validator: object, pattern: object, instance: object, schema: object
) -> Iterator[ValidationError]:
    del validator, schema
    if not isinstance(instance, str) or not isinstance(pattern, str):
        return
    compiled = _compiled_pattern(pattern)
    if compiled is not None and not compiled.isinstance_python(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@lru_cache(KEPT)
def _compiled_pattern(pattern: str) -> SchemaValidator | None:
    """Return a pattern on the worker's engine; None when it is Python's alone: its worker checks."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except PatternError:
        return None


_Validator = cast(
    "type[Draft202012Validator]",
    validators.extend(  # pyright: ignore[reportUnknownMemberType]  # upstream has no types here
        Draft202012Validator, {"pattern": _pattern}
    ),
)


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
