"""Frames to messages and back: msgpack by msgspec, fast when all is well, tolerant when it is not.

A frame is decoded by one call against the union of all messages of its direction. Only when that
fails is it looked at message by message, to tell an unknown kind (which is answered and skipped) from
a peer that breaks the protocol (whose link is closed).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast, get_args

import msgspec

from shared.protocol import messages
from shared.protocol.limits import MAX_FRAME, MAX_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_encode = msgspec.msgpack.Encoder().encode
# What decoding bytes from a stranger raises: msgspec's own errors and bad UTF-8 are ValueErrors, deep
# nesting is a RecursionError.
_BAD_BYTES = (ValueError, RecursionError, OverflowError, MemoryError)


class UnknownKind(NamedTuple):
    """A message in a frame whose kind this version does not know."""

    kind: int


class ProtocolFault(NamedTuple):
    """Why a frame cannot be read."""

    problem: str


Found = list[messages.AnyMessage | UnknownKind]


class _Head(msgspec.Struct, array_like=True):
    """The part of a message that every version has."""

    kind: int


_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_heads = msgspec.msgpack.Decoder(list[_Head])
_any_message = msgspec.msgpack.Decoder(messages.AnyMessage)


def kind_of(message: type[messages.Message]) -> int:
    """Return the kind that a message class has on the wire."""
    kind = message.__struct_config__.tag
    assert isinstance(kind, int)
    return kind


_KNOWN_KINDS = frozenset(kind_of(message) for message in get_args(messages.AnyMessage))


def encode(frame: Sequence[messages.Message]) -> bytes:
    """Return the bytes of a frame."""
    try:
        return _encode(frame)
    except UnicodeEncodeError:
        # Half a surrogate pair in a text, say in what a function raised: it must not hold up a frame.
        return _encode([_encodable(message) for message in frame])


def _encodable(message: messages.Message) -> messages.Message:
    fields = msgspec.structs.asdict(message)
    texts = {
        name: value.encode("utf-8", "replace").decode("utf-8")
        for name, value in fields.items()
        if isinstance(value, str)
    }
    return msgspec.structs.replace(message, **texts)


class Decoder:
    """Decodes the frames of one direction.

    Args:
        direction: `messages.FromBalancer` or `messages.FromWorker`.
    """

    __slots__ = ("_decode", "_kinds")

    def __init__(self, direction: object) -> None:
        members: tuple[type[messages.Message], ...] = get_args(direction)
        self._kinds = frozenset(kind_of(member) for member in members)
        decoder = msgspec.msgpack.Decoder(list[direction])
        self._decode = cast("Callable[[bytes], Found]", decoder.decode)

    def decode(self, frame: bytes) -> Found | ProtocolFault:
        """Return the messages of a frame in order, or why it cannot be read; never raise."""
        if len(frame) > MAX_FRAME:
            return ProtocolFault(f"frame of {len(frame)} bytes, at most {MAX_FRAME} are allowed")
        count = _count(frame)
        if count > MAX_MESSAGES:
            return ProtocolFault(f"frame of {count} messages, at most {MAX_MESSAGES} are allowed")
        try:
            return self._decode(frame)
        except _BAD_BYTES:
            return self._decode_each(frame)

    def _decode_each(self, frame: bytes) -> Found | ProtocolFault:
        try:
            heads, raws = _heads.decode(frame), _raws.decode(frame)
        except _BAD_BYTES as error:
            return ProtocolFault(f"frame is not an array of messages: {error}")
        found: Found = []
        for head, raw in zip(heads, raws, strict=True):
            message = self._decode_one(head.kind, raw)
            if isinstance(message, ProtocolFault):
                return message
            found.append(message)
        return found

    def _decode_one(
        self, kind: int, raw: msgspec.Raw
    ) -> messages.AnyMessage | UnknownKind | ProtocolFault:
        if kind not in _KNOWN_KINDS:
            return UnknownKind(kind)
        if kind not in self._kinds:
            return ProtocolFault(f"message of kind {kind} comes from the wrong side")
        try:
            return _any_message.decode(raw)
        except _BAD_BYTES as error:
            return ProtocolFault(f"malformed message of kind {kind}: {error}")


def _count(frame: bytes) -> int:
    """Return how many messages a frame claims to hold, from its first bytes; 0 when it is no array."""
    first = frame[0] if frame else 0
    if first & 0xF0 == 0x90:
        return first & 0x0F
    if first == 0xDC:
        return int.from_bytes(frame[1:3], "big")
    return int.from_bytes(frame[1:5], "big") if first == 0xDD else 0
