"""Keeps secrets out of logs: by the name of a field, and by what a text looks like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REDACTED = "[redacted]"
_MAX_DEPTH = 6  # of nested fields; what lies deeper is shown as the marker

_SECRET_NAME = re.compile(
    r"authorization|proxy[-_]authorization|x[-_](lb|wr)[-_]auth|(set[-_])?cookie|secret|password|passwd"
    r"|.*[-_](key|keys|secret|secrets|password|auth)|(access|api|auth|bearer|id|refresh)[-_]token",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?i:\bbearer\s+)[^\s\"',;]+"  # an Authorization header
    r"|\bwhsec_[A-Za-z0-9+/=_-]+"  # a Standard Webhooks secret
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"  # a JSON Web Token
    r"|\b[0-9a-fA-F]{48,}\b"  # a generated key; commit ids and trace ids are shorter
    r"|(?<=://)[^/\s@]+(?=@)"  # user and password of a URL
)


def redacted(fields: Mapping[str, object], *, log_input: bool = False) -> dict[str, object]:
    """Return fields fit for a log.

    Args:
        fields: what was to be logged.
        log_input: the function allows its input to be shown (`log_input=True`).
    """
    return {name: _field(name, value, log_input, 0) for name, value in fields.items()}


def redacted_text(text: str) -> str:
    """Return a text without what looks like a secret."""
    return _SECRET_TEXT.sub(REDACTED, text)


def _field(name: str, value: object, log_input: bool, depth: int) -> object:
    if _SECRET_NAME.fullmatch(name) or (name == "input" and not log_input):
        return REDACTED if value is not None else None
    return _value(value, log_input, depth)


def _value(value: object, log_input: bool, depth: int) -> object:
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, dict):
        if depth == _MAX_DEPTH:
            return REDACTED
        members = cast("Mapping[object, object]", value)
        return {
            str(key): _field(str(key), item, log_input, depth + 1) for key, item in members.items()
        }
    if isinstance(value, list | tuple):
        if depth == _MAX_DEPTH:
            return REDACTED
        return [_value(item, log_input, depth + 1) for item in cast("Sequence[object]", value)]
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    return (
        value
        if value is None or isinstance(value, bool | int | float)
        else redacted_text(str(value))
    )
