"""Reads Server-Sent Events out of a byte stream: bytes in, whole events out, no I/O.

Only what the contract uses is kept of the format (WHATWG HTML §9.2): `id`, `event`, `data` over
several lines, comments as keep-alive. An event that the stream ends within is never handed out.
"""

from __future__ import annotations

from dataclasses import dataclass

# A result of 64 MiB (the link's bound) as base64 is 86 MiB; past this the peer is not one of ours.
MAX_EVENT_BYTES = 96 * 1024 * 1024


class EventTooLarge(Exception):
    """An event is larger than any that a server of ours sends."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event as it stood on the wire.

    Attributes:
        name: its `event` field; `message` when it had none.
        id: its `id` field; "" when it had none.
        data: its `data` lines, joined by newlines.
    """

    name: str
    id: str
    data: bytes


class EventReader:
    """Cuts a byte stream into events, wherever the network cut it."""

    __slots__ = ("_data", "_id", "_name", "_partial", "_size")

    def __init__(self) -> None:
        self._partial: list[bytes] = []  # of a line whose end has not come
        self._data: list[bytes] = []
        self._name = ""
        self._id = ""
        self._size = 0  # bytes held for the event that is being read

    def feed(self, received: bytes) -> list[ServerEvent]:
        """Take what came and return the events that it completed.

        Raises:
            EventTooLarge: an event passes `MAX_EVENT_BYTES`.
        """
        *lines, rest = received.split(b"\n")
        events: list[ServerEvent] = []
        for line in lines:
            whole = b"".join((*self._partial, line))
            self._partial.clear()
            event = self._line(whole.removesuffix(b"\r"))
            if event is not None:
                events.append(event)
        if rest:
            self._partial.append(rest)
            self._count(len(rest))
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._end_of_event()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._count(len(value))
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id":
            self._id = value.decode("utf-8", "replace")
        return None

    def _end_of_event(self) -> ServerEvent | None:
        event = ServerEvent(self._name or "message", self._id, b"\n".join(self._data))
        empty = not self._data and not self._name
        self._data, self._name, self._id, self._size = [], "", "", 0
        return None if empty else event

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLarge
