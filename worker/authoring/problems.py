"""What is wrong with an input, in the contract's words: pydantic's errors → `ParamProblem`.

The texts are part of the wire (contract §2, row "parameter invalid"); pydantic's own never leave
this module, but for what it says about a format that the contract has no text for. Values of the
input are not quoted, since they may be secret.
"""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, cast

from shared.errors import ParamProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic_core import ErrorDetails

MAX_PROBLEMS = 100  # details of an answer; a caller reads the first few
MAX_PATH = (
    200  # characters of a path in a text; the name of an unexpected param can be of any length
)

# What the error says was expected, as Andera names types.
_EXPECTED: dict[str, str] = {
    "bool_type": "boolean",
    "bytes_type": "string",
    "dataclass_type": "object",
    "date_type": "string",
    "datetime_type": "string",
    "decimal_type": "number",
    "dict_type": "object",
    "float_type": "number",
    "frozen_set_type": "array",
    "int_type": "number",
    "iterable_type": "array",
    "list_type": "array",
    "mapping_type": "object",
    "model_attributes_type": "object",
    "model_type": "object",
    "none_required": "null",
    "set_type": "array",
    "string_sub_type": "string",
    "string_type": "string",
    "time_delta_type": "string",
    "time_type": "string",
    "tuple_type": "array",
    "url_type": "string",
    "uuid_type": "string",
}

# error type → (sign, key of the bound in its context)
_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}
_LENGTHS: dict[str, tuple[str, str]] = {
    "bytes_too_long": ("<=", "max_length"),
    "bytes_too_short": (">=", "min_length"),
    "string_too_long": ("<=", "max_length"),
    "string_too_short": (">=", "min_length"),
    "too_long": ("<=", "max_length"),
    "too_short": (">=", "min_length"),
}


def problems_of(errors: Iterable[ErrorDetails], document: object) -> tuple[ParamProblem, ...]:
    """Return the problems of an input, one a value, in the order of pydantic's errors.

    Args:
        errors: what pydantic found.
        document: the input, as parsed JSON.
    """
    grouped: dict[str, list[ErrorDetails]] = {}
    for error in errors:
        path = ".".join(map(str, value_path(error, document)))[:MAX_PATH]
        grouped.setdefault(path, []).append(error)
        if len(grouped) > MAX_PROBLEMS:
            grouped.pop(path)
            break
    return tuple(
        ParamProblem(param=path, problem=_problem(path, group)) for path, group in grouped.items()
    )


def value_path(error: ErrorDetails, document: object) -> list[str | int]:
    """Return where in the document the bad value is.

    pydantic's `loc` also names the branch of a union that was tried and such; what is not a step
    into the document is left out, so all branches of a union end at one path.
    """
    path: list[str | int] = []
    here = document
    last = len(error["loc"]) - 1
    for position, step in enumerate(error["loc"]):
        if isinstance(here, dict) and step in here:
            here = cast("dict[object, object]", here)[step]
        elif (
            isinstance(here, list)
            and isinstance(step, int)
            and step < len(cast("list[object]", here))
        ):
            here = cast("list[object]", here)[step]
        elif position != last or error["type"] not in ("missing", "extra_forbidden"):
            continue
        path.append(step)
    return path


def _problem(path: str, errors: Sequence[ErrorDetails]) -> str:
    """Put the errors of one value into one text; several are the branches of a union."""
    names = [name for error in errors if (name := _expected_type(error)) is not None]
    if len(names) == len(errors):
        return f"Invalid type for param: {path}, expected {' or '.join(dict.fromkeys(names))}"
    # A branch that took the type and refused the value knows more than those that refused the type.
    return _text(path, next(error for error in errors if _expected_type(error) is None))


def _expected_type(error: ErrorDetails) -> str | None:
    if error["type"] == "int_type" and isinstance(error["input"], float):
        return "integer"  # it is a number, only not a whole one
    return _EXPECTED.get(error["type"])


def _text(path: str, error: ErrorDetails) -> str:
    kind = error["type"]
    details = error.get("ctx", {})
    if kind == "missing":
        return f"Missing required param: {path}"
    if kind == "extra_forbidden":
        return f"Unexpected param: {path}"
    if kind in ("literal_error", "enum"):
        return (
            f"Invalid value for param: {path}, expected one of {_choices(str(details['expected']))}"
        )
    if kind == "string_pattern_mismatch":
        return f"Invalid format for param: {path}, does not match pattern {details['pattern']}"
    if kind in _BOUNDS:
        sign, key = _BOUNDS[kind]
        return f"Value for param: {path} must be {sign} {_number(details[key])}"
    if kind in _LENGTHS:
        sign, key = _LENGTHS[kind]
        return f"Length of param: {path} must be {sign} {details[key]}"
    return f"Invalid value for param: {path}, {_message(error)}"


def _message(error: ErrorDetails) -> str:
    """Return pydantic's or the author's own message as the end of a sentence."""
    cause = error.get("ctx", {}).get("error")
    if error["type"] in ("value_error", "assertion_error") and str(cause):
        return str(cause)
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    for start in ("Input should be ", "Data should be "):
        if message.startswith(start):
            return "expected " + message.removeprefix(start)
    return message


def _number(bound: object) -> object:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _choices(expected: str) -> str:
    """Return pydantic's `'a', 'b' or 3` as the JSON list `["a", "b", 3]`."""
    try:
        return json.dumps(_leaves(ast.parse(expected, mode="eval").body), ensure_ascii=False)
    except (SyntaxError, TypeError, ValueError):
        return f"[{expected}]"  # choices without a literal form


def _leaves(node: ast.expr) -> list[object]:
    """Flatten the tuple and the `or` that the text is when it is read as an expression."""
    if isinstance(node, ast.Tuple):
        return [leaf for part in node.elts for leaf in _leaves(part)]
    if isinstance(node, ast.BoolOp):
        return [leaf for part in node.values for leaf in _leaves(part)]
    return [ast.literal_eval(node)]
