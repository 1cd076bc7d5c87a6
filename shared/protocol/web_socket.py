"""The frames of a WebSocket (RFC 6455 §5), without I/O, as far as a link needs them.

A link puts every message into one binary frame, many times a millisecond, so reading and building
them costs what each batch of tasks costs; handshakes are left to the `websockets` package. Text,
extensions and reserved bits have no place on a link and end it, as do frames that are not masked
as their direction wants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR, UNSUPPORTED, TOO_BIG = 1000, 1002, 1003, 1009  # codes of a Close (§7.4.1)

MAX_CONTROL = 125  # bytes of a Close, a Ping or a Pong
KEY_SIZE = 4
_SHORT, _LONG = 126, 127  # lengths that say that 2 or 8 bytes of length follow
_FIN, _RESERVED, _OPCODE, _MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F

Mask = Callable[[bytes, bytes], bytes]


class FrameFault(Exception):
    """The peer broke a rule; the connection must be closed.

    Attributes:
        code: to be told in the Close.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Received(NamedTuple):
    """A whole message, or a control frame.

    Attributes:
        opcode: BINARY, CLOSE, PING or PONG.
        data: the payload, unmasked.
    """

    opcode: int
    data: bytes


def frame(opcode: int, data: bytes, key: bytes | None = None, mask: Mask | None = None) -> bytes:
    """Return one frame that is a whole message.

    Args:
        opcode: what it is.
        data: the payload.
        key: four random bytes when a client sends it, None when a server does (§5.3).
        mask: combines payload and key.
    """
    size = len(data)
    first, bit = _FIN | opcode, 0 if key is None else _MASKED
    if size < _SHORT:
        head = bytes((first, bit | size))
    elif size < 0x10000:
        head = bytes((first, bit | _SHORT)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | _LONG)) + size.to_bytes(8, "big")
    if key is None or mask is None:
        return head + data
    return head + key + mask(data, key)


def closing(code: int) -> bytes:
    """Return the payload of a Close."""
    return code.to_bytes(2, "big")


class FrameReader:
    """Reads what one end of a connection receives.

    Args:
        mask: removes masks; None at the client, whose server must not mask.
        max_size: bytes of a message, its fragments together.
    """

    __slots__ = ("_buffer", "_fragments", "_fragments_size", "_mask", "_max_size", "_needed")

    def __init__(self, mask: Mask | None, max_size: int) -> None:
        self._mask = mask
        self._max_size = max_size
        self._buffer = bytearray()  # the beginning of a frame
        self._needed = 0  # bytes that make that frame whole, once its head is there
        self._fragments: list[bytes] | None = None  # of a message that has begun
        self._fragments_size = 0

    def feed(self, data: bytes) -> list[Received]:
        """Return what is complete with these bytes.

        Raises:
            FrameFault: the peer broke a rule; what was complete before that is lost with it.
        """
        kept = self._buffer
        if kept:
            kept += data
            if len(kept) < self._needed:
                return []
            data = bytes(kept)
            kept.clear()
        self._needed = 0
        found: list[Received] = []
        at = 0
        while (end := self._read(data, at, found)) > at:
            at = end
        if at < len(data):
            kept += data[at:] if at else data
        return found

    def _read(self, data: bytes, at: int, found: list[Received]) -> int:
        """Read the frame that begins at a place; return where it ends, or that place."""
        if len(data) - at < 2:
            return at
        first, second = data[at], data[at + 1]
        size, begin = second & _LENGTH, at + 2
        if size >= _SHORT:
            begin += 2 if size == _SHORT else 8
            if len(data) < begin:
                return at
            size = int.from_bytes(data[at + 2 : begin], "big")
        self._check(first, second, size)
        mask = self._mask
        if mask is not None:
            begin += KEY_SIZE
        end = begin + size
        if len(data) < end:
            self._needed = end - at
            return at
        payload = data[begin:end]
        if mask is not None:
            payload = mask(payload, data[begin - KEY_SIZE : begin])
        if first == _FIN | BINARY and self._fragments is None:
            found.append(Received(BINARY, payload))
        else:
            self._take(first, payload, found)
        return end

    def _check(self, first: int, second: int, size: int) -> None:
        """Look at a head before its payload is waited for."""
        if first & _RESERVED:
            raise FrameFault(PROTOCOL_ERROR, "reserved bits are set")
        if (second >= _MASKED) != (self._mask is not None):
            raise FrameFault(PROTOCOL_ERROR, "the mask bit is wrong for this direction")
        opcode = first & _OPCODE
        if opcode >= CLOSE and (size > MAX_CONTROL or not first & _FIN):
            raise FrameFault(PROTOCOL_ERROR, "a control frame is fragmented or too long")
        if self._fragments_size + size > self._max_size:
            raise FrameFault(TOO_BIG, f"a message is larger than {self._max_size} bytes")

    def _take(self, first: int, payload: bytes, found: list[Received]) -> None:
        """Take a frame that is not a whole binary message."""
        opcode = first & _OPCODE
        if opcode in (CLOSE, PING, PONG):
            found.append(Received(opcode, payload))
            return
        if opcode == TEXT:
            raise FrameFault(UNSUPPORTED, "a link speaks binary messages")
        if opcode not in (CONTINUATION, BINARY):
            raise FrameFault(PROTOCOL_ERROR, f"opcode {opcode} is unknown")
        if (opcode == CONTINUATION) != (self._fragments is not None):
            raise FrameFault(PROTOCOL_ERROR, "fragments are out of order")
        if not payload and not first & _FIN:
            raise FrameFault(
                PROTOCOL_ERROR, "a fragment is empty"
            )  # nothing else bounds their number
        fragments = self._fragments = self._fragments or []
        fragments.append(payload)
        self._fragments_size += len(payload)
        if first & _FIN:
            self._fragments, self._fragments_size = None, 0
            found.append(Received(BINARY, b"".join(fragments)))
