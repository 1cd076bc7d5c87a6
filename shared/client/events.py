"""What comes out of a stream: `Chunk` and `Progress`, read from the events of the wire (contract §2)."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec

from shared.client.answers import bad_answer, error_of_members

if TYPE_CHECKING:
    from shared.client.answers import JsonObject
    from shared.client.records import Json
    from shared.client.sse import ServerEvent
    from shared.errors import CabrankError


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece that the function produced.

    Attributes:
        seq: 1, 2, 3 …
        value: text, bytes or a JSON value, as the function gave it.
    """

    seq: int
    value: Json


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the function says it is.

    Attributes:
        seq: its place among the pieces.
        fraction: share of the work that is done, 0 to 1.
        done: units done, in the function's own unit.
        total: units in all.
        message: what is being done, for a person.
    """

    seq: int
    fraction: float | None = None
    done: float | None = None
    total: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """What the function returned."""

    value: Json


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream came to its proper end.

    Attributes:
        task_id: id of the task, when the server told it.
    """

    task_id: str | None = None


def read_event(event: ServerEvent) -> Chunk | Progress | Returned | Ended | CabrankError | None:
    """Return what an event means; None for a kind that this version does not know."""
    if event.name not in ("chunk", "progress", "result", "error", "end"):
        return None
    try:
        data = msgspec.json.decode(event.data)
        if event.name == "result":
            return Returned(data)
        if event.name == "end":
            task_id = _members(data).get("task_id")
            return Ended(task_id if isinstance(task_id, str) else None)
        if event.name == "error":
            return error_of_members(_members(data), default_code="function_error")
        seq = int(event.id) if event.id else 0
        return Chunk(seq, _value(data)) if event.name == "chunk" else _progress(seq, _members(data))
    except ValueError as exc:
        return bad_answer(f"event {event.name}: {exc}")


def _value(data: Json) -> Json:
    """Return a piece: bytes come as `{"base64": …}`, all else as itself."""
    members = cast("JsonObject", data) if isinstance(data, dict) else {}
    encoded = members.get("base64")
    if len(members) == 1 and isinstance(encoded, str):
        with suppress(binascii.Error):  # then it is a JSON value that looks like bytes
            return base64.b64decode(encoded, validate=True)
    return cast("Json", data)


def _progress(seq: int, members: JsonObject) -> Progress:
    message = members.get("message")
    done, total = _number(members.get("done")), _number(members.get("total"))
    told = _number(members.get("fraction"))
    return Progress(
        seq,
        fraction=_share(done, total) if told is None else told,
        done=done,
        total=total,
        message=message if isinstance(message, str) else None,
    )


def _share(done: float | None, total: float | None) -> float | None:
    """Return the share that is done; a worker tells units only, and its total may be too low."""
    return min(1.0, done / total) if done is not None and total else None


def _members(data: Json) -> JsonObject:
    if not isinstance(data, dict):
        raise ValueError("expected an object")
    return cast("JsonObject", data)


def _number(value: Json) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
