"""Checks the `input` of a task against a function's parameters.

The hot path is one call of pydantic-core on the raw bytes; everything else here runs only when that
call has refused. Nothing is coerced: `"40"` and `true` are not numbers. JSON has one number type,
so `1.0` is the integer 1 and `1` a float. What JSON cannot carry has its usual form: dates, times
and durations as ISO 8601 text, UUIDs and URLs as text, enums as their values, sets and tuples as
arrays, bytes as base64 (plain or URL-safe alphabet).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn, cast

import msgspec
from pydantic_core import PydanticSerializationError, ValidationError, to_json

from shared.errors import (
    CabrankError,
    Failure,
    FunctionError,
    InvalidParams,
    ParamProblem,
    error_of,
    failure,
)
from worker.authoring.problems import problems_of, value_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic_core import ErrorDetails

# Above it pydantic's list of errors would take more memory than the body; one problem says so then.
_MAX_ERRORS = 10_000

_WHOLE_NUMBER_ERRORS = frozenset({"int_type", "literal_error", "enum"})
_BY_THE_LETTER = msgspec.json.Decoder(msgspec.Raw)  # reads a document and makes nothing of it


class ParamChecker:
    """Turns a task's input into the keyword arguments of its function, or says what is wrong.

    Args:
        validate: pydantic's `validate_json` of a typed dictionary with a key per parameter.
        reserved: name that no input may use, though extras are allowed: the context's.
    """

    __slots__ = ("_reserved", "_validate")

    def __init__(
        self, validate: Callable[..., dict[str, object]], reserved: str | None = None
    ) -> None:
        self._validate = validate
        self._reserved = reserved

    def check(self, raw: bytes | Mapping[str, object] | None) -> dict[str, object]:
        """Return the checked parameters with their defaults filled in.

        Args:
            raw: the input as JSON text, or as a Python mapping, which is checked as the JSON it
                would be; None, like the JSON null, is an empty object.

        Raises:
            InvalidParams: a parameter is missing, unexpected or wrong; the message is the first
                problem and `details` has all, in the order of declaration, unexpected ones last.
            CallerError: the input is no JSON (`invalid_json`) or no object (`invalid_input`).
            FunctionError: a validator of the function's own broke.
        """
        document = raw if isinstance(raw, bytes) else _encode(raw)
        try:
            values = self._validate(document, strict=True)
        except ValidationError as error:
            values = self._second_look(document, error)
        except Exception as error:
            raise _broken_validator(error) from error
        if self._reserved in values:
            raise InvalidParams(details=(_unexpected(str(self._reserved)),))
        # jiter reads the constants that JSON has not; in a parameter of any type they would pass.
        # msgspec, which refuses them, walks over a document faster than a search for their names.
        try:
            _BY_THE_LETTER.decode(document)
        except (msgspec.DecodeError, RecursionError):
            _parse(document)
        return values

    def _second_look(self, document: bytes, error: ValidationError) -> dict[str, object]:
        """Accept whole numbers written as floats, and null for no input; else raise what is wrong."""
        if error.error_count() > _MAX_ERRORS:
            raise InvalidParams(details=(_too_many(error),)) from error
        errors = error.errors(include_url=False)
        if errors[0]["type"] == "json_invalid":
            raise _refusal("invalid_json") from error
        data = _parse(document)
        if data is None:
            return self.check(b"{}")
        if not isinstance(data, dict):
            raise _refusal("invalid_input") from error
        if _make_whole(errors, cast("dict[object, object]", data)):
            try:
                repaired = json.dumps(data).encode()
                return self._validate(repaired, strict=True)
            except ValidationError as still:
                errors = still.errors(include_url=False)
            except Exception as broken:
                raise _broken_validator(broken) from broken
        raise InvalidParams(details=problems_of(errors, cast("object", data))) from error


def _make_whole(errors: list[ErrorDetails], data: dict[object, object]) -> bool:
    """Replace floats without a fraction, where an integer was wanted, by that integer."""
    repaired = False
    for error in errors:
        given = error["input"]
        if error["type"] not in _WHOLE_NUMBER_ERRORS or not isinstance(given, float):
            continue
        path = value_path(error, data)
        if given.is_integer() and path:
            # The path leads through objects and arrays alike; both are indexed in one way.
            parent = data
            for step in path[:-1]:
                parent = cast("dict[object, object]", parent[step])
            parent[path[-1]] = int(given)
            repaired = True
    return repaired


def _encode(raw: Mapping[str, object] | None) -> bytes:
    if not raw:
        return b"{}"
    try:
        return to_json(raw, bytes_mode="base64", inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError) as error:
        raise _refusal("invalid_input") from error


def _parse(document: bytes) -> object:
    """Parse JSON by the letter: no NaN, no Infinity.

    It never meets deep nesting: pydantic-core stops at 200 levels, before this is called.
    """
    try:
        return json.loads(document, parse_constant=_refuse_constant)
    except ValueError as error:
        raise _refusal("invalid_json") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refusal(code: str) -> CabrankError:
    return error_of(failure(code))


def _broken_validator(error: Exception) -> FunctionError:
    text = f"Checking the input failed: {error}"
    return FunctionError(failure=Failure("function_error", text, error_type=type(error).__name__))


def _unexpected(name: str) -> ParamProblem:
    return ParamProblem(param=name, problem=f"Unexpected param: {name}")


def _too_many(error: ValidationError) -> ParamProblem:
    return ParamProblem(
        param="", problem=f"Invalid input: {error.error_count()} values are invalid"
    )
