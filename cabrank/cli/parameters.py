"""Reads a function's input from the command line: `name=Ada count=3`, or one JSON object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from shared.errors import CallerError, failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.client.records import Json


def parse_input(pairs: Sequence[str], whole: str | None) -> dict[str, Json]:
    """Return the input: the JSON object first, then the pairs over it.

    Raises:
        CallerError: a pair has no `=`, or `whole` is no JSON object.
    """
    found = {} if whole is None else _parse_object(whole)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise _invalid(f"Expected name=value, not {pair!r}")
        found[name] = parse_value(text)
    return found


def parse_value(text: str) -> Json:
    """Return the JSON value that a text is, else the text itself; `'"3"'` is the text 3."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _parse_object(text: str) -> dict[str, Json]:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError as exc:
        raise _invalid(f"--input is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise _invalid("--input must be a JSON object")
    return cast("dict[str, Json]", value)


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")


def _invalid(text: str) -> CallerError:
    return CallerError(failure=failure("invalid_input", text))
