"""msgpack at the edge: request bodies become JSON on the way in, answers msgpack on the way out.

Inside everything is JSON text as bytes, so that one form is stored, spliced and carried.
"""

from __future__ import annotations

import json

import msgpack
import msgspec

from shared.errors import Failure, failure

BINARY = "Invalid input: binary values cannot be carried as JSON"


class _NotJson(Exception):
    """A msgpack value that JSON has no form for."""


def json_from_msgpack(body: bytes) -> bytes | Failure:
    """Return a msgpack body as JSON text, or why it cannot be."""
    try:
        value: object = msgpack.unpackb(body, strict_map_key=True, ext_hook=_refuse_ext)
        text = json.dumps(
            value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_refuse
        )
    except (_NotJson, TypeError):  # TypeError: json's answer to a key that is bytes
        return failure("invalid_input", BINARY)
    except (ValueError, RecursionError, msgpack.UnpackException):
        return failure("invalid_json")
    return text.encode()


def msgpack_from_json(body: bytes) -> bytes | None:
    """Return JSON text as msgpack; None when msgpack has no form for it (integers over 64 bits)."""
    try:
        return msgspec.msgpack.encode(msgspec.json.decode(body))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None


def _refuse(value: object) -> object:
    raise _NotJson(type(value).__name__)


def _refuse_ext(code: int, data: bytes) -> object:
    raise _NotJson(f"extension {code}")
