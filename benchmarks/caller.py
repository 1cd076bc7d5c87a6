"""A caller: one keep-alive connection that sends one request again and again and checks each answer."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

READ_BYTES = (
    8 * 1024
)  # a bytes object of this size is made for each read, so not larger than answers are
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)

Address = tuple[str, int]


class WrongAnswerError(Exception):
    """An answer was not the one that had to come: no figure of this run is worth anything."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, and what must come back.

    Attributes:
        wire: the bytes of the request.
        status: of the answer.
        begins: how the body of the answer begins; what follows is an id that nobody can foretell.
    """

    wire: bytes
    status: bytes
    begins: bytes


def post(path: str, body: bytes, *, key: str, status: int = 200, begins: bytes = b"") -> Request:
    """Return a request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Request(head.encode() + body, b"HTTP/1.1 %d" % status, begins)


def hello(name: str, *, key: str) -> Request:
    """Return a sync call of `hello` as a client of the balancer writes it; its answer names the caller.

    A bare server and a worker get the same bytes: they ignore the fields that they do not need.
    """
    body = (
        f'{{"function":"hello","input":{{"name":"{name}"}},"group":"default","contract":1,'
        f'"priority":1,"mode":"sync"}}'
    )
    begins = b'{"success":true,"result":"Hello %b"' % name.encode()
    return post("/task", body.encode(), key=key, begins=begins)


class Caller:
    """One connection.

    Attributes:
        begun_s: when the request that is under way was due, on the clock of whoever measures.
        taken: answers so far.
    """

    __slots__ = ("_buffer", "_request", "begun_s", "sock", "taken")

    def __init__(self, address: Address, request: Request) -> None:
        self.sock = socket.create_connection(address, timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self._request = request
        self._buffer = b""
        self.begun_s = 0.0
        self.taken = 0

    def send(self, due_s: float) -> None:
        """Send the request; it is small enough for any socket buffer."""
        self.begun_s = due_s
        wire = self._request.wire
        if self.sock.send(wire) != len(wire):
            raise WrongAnswerError("a request did not fit the socket's buffer")

    def change(self, request: Request) -> None:
        """Send another request from now on."""
        self._request = request

    def receive(self) -> bool:
        """Read what is there; True when the answer is complete, and right.

        Raises:
            WrongAnswerError: it is not the one that was expected.
        """
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise WrongAnswerError("the server closed a connection that waits for an answer")
        if self._buffer:
            data = self._buffer + data
        end = data.find(_END_OF_HEAD)
        if end < 0:
            self._buffer = data
            return False
        length = _LENGTH.search(data, 0, end + 2)
        if length is None:
            raise WrongAnswerError(f"an answer without Content-Length: {data[:300]!r}")
        body_at = end + 4
        missing = body_at + int(length[1]) - len(data)
        if missing > 0:
            self._buffer = data
            return False
        request = self._request
        right = data.startswith(request.status) and data.startswith(request.begins, body_at)
        if missing < 0 or not right:
            raise WrongAnswerError(f"{data[:400]!r} where {request.begins!r} had to come")
        self._buffer = b""
        self.taken += 1
        return True

    def close(self) -> None:
        """Leave."""
        self.sock.close()
