"""What the end of a function means: its return value or its exception, as an `Outcome`.

A value is encoded once, where it was made, and travels as JSON text from there on. An exception
becomes its message and the name of its class; its traceback goes to the log and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from pydantic_core import PydanticSerializationError, to_jsonable_python

from shared.errors import Failure, failure
from shared.log import Log
from shared.task import Outcome, PieceKind
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from worker.authoring.context import PieceValue

MAX_RESULT_BYTES = 64 * 1024 * 1024  # what a link carries as one body
MAX_PIECE_BYTES = 16 * 1024 * 1024  # longer streams are made of more pieces
MAX_MESSAGE_CHARS = 4096  # of an exception's text; some carry whole documents

_SUCCEEDED = TaskStatus.SUCCEEDED  # to look it up in its class costs as much as a call

_log = Log("function")


def _encode_other(value: object) -> object:
    """Give pydantic's models, URLs and the like their JSON form; msgspec knows all the rest."""
    try:
        return to_jsonable_python(value, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise TypeError(f"{type(value).__name__} has no JSON form") from error


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def returned(value: object) -> Outcome:
    """Return the outcome of a function that returned."""
    if value is None:
        return Outcome(TaskStatus.SUCCEEDED)
    try:
        result = _encoder.encode(value)
    except Exception as error:
        return _failed(f"The return value has no JSON form: {error}", type(error).__name__)
    if len(result) > MAX_RESULT_BYTES:
        return Outcome(TaskStatus.FAILED, failure=failure("result_too_large"))
    return Outcome(_SUCCEEDED, result)


def raised(error: BaseException, function: str, task_id: str) -> Outcome:
    """Return the outcome of a function that raised, and write its traceback to the log."""
    kind = type(error).__name__
    _log.exception("function raised", error, function=function, task_id=task_id, error_type=kind)
    return _failed(message_of(error), kind)


def failed_elsewhere(message: str, error_type: str) -> Outcome:
    """Return the outcome of a function that raised in a process of its own, or of its process."""
    return _failed(message, error_type)


def message_of(error: BaseException) -> str:
    """Return what an exception says; its class's name when it says nothing."""
    try:
        text = str(error)
    except Exception:  # an author's own __str__ may be broken
        text = ""
    return _unicode(text[:MAX_MESSAGE_CHARS]) or type(error).__name__


def _unicode(text: str) -> str:
    """Return a text that every encoder takes: file names that are no UTF-8 come as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def encode_piece(value: PieceValue) -> tuple[PieceKind, bytes]:
    """Return a piece as it travels.

    Raises:
        ValueError: the piece is too large.
    """
    if isinstance(value, str):
        kind, data = PieceKind.TEXT, value.encode("utf-8", "replace")
    elif isinstance(value, bytes):
        kind, data = PieceKind.BYTES, value
    else:
        kind, data = PieceKind.JSON, _encoder.encode(value)
    if len(data) > MAX_PIECE_BYTES:
        raise ValueError(
            f"a stream piece has {len(data)} bytes; at most {MAX_PIECE_BYTES} fit, so send it in parts"
        )
    return kind, data


def encode_json(value: object) -> bytes:
    """Return the JSON text of a value that is known to have one."""
    return _encoder.encode(value)


def _failed(message: str, error_type: str) -> Outcome:
    text = message[:MAX_MESSAGE_CHARS]
    return Outcome(
        TaskStatus.FAILED, failure=Failure("function_error", text, error_type=error_type)
    )
