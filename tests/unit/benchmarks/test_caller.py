"""The caller of the load generator: a figure counts only when every answer was the right one."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import closing

import pytest

from benchmarks.caller import Caller, WrongAnswerError, hello

RIGHT = b'{"success":true,"result":"Hello Ada","task_id":"t-1"}'


@pytest.fixture
def pair() -> Generator[tuple[Caller, socket.socket]]:
    """Yield a caller that greets as Ada, and the server's end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caller = Caller(listener.getsockname(), hello("Ada", key="key"))
        server, _ = listener.accept()
        with closing(caller), server:
            server.settimeout(5)
            yield caller, server


def _receive(caller: Caller) -> bool:
    caller.sock.setblocking(True)  # the test waits where the generator has epoll
    caller.sock.settimeout(5)
    return caller.receive()


def _answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def test_a_request_carries_the_key_and_the_name(pair: tuple[Caller, socket.socket]) -> None:
    """What is sent is a whole call of one caller, by name."""
    caller, server = pair
    caller.send(1.0)
    sent = server.recv(4096)
    assert b"Authorization: key\r\n" in sent
    assert b'"input":{"name":"Ada"}' in sent
    assert caller.begun_s == 1.0


def test_an_answer_in_pieces_is_complete_with_its_last_byte(
    pair: tuple[Caller, socket.socket],
) -> None:
    """Head and body may come in any pieces."""
    caller, server = pair
    answer = _answer(RIGHT)
    for cut in (10, len(answer) - 1):
        server.sendall(answer[:cut])
        assert not _receive(caller)
        server.sendall(answer[cut:])
        assert _receive(caller)
    assert caller.taken == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_answer(RIGHT.replace(b"Ada", b"Bob")), id="somebody else's"),
        pytest.param(_answer(RIGHT, b"500 Internal Server Error"), id="an error"),
        pytest.param(_answer(RIGHT) + b"x", id="more than was announced"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="without a length"),
        pytest.param(b"", id="a closed connection"),
    ],
)
def test_a_wrong_answer_ends_the_run(pair: tuple[Caller, socket.socket], answer: bytes) -> None:
    """An answer that is not the caller's own, right and whole is not counted but raised."""
    caller, server = pair
    server.sendall(answer)
    server.shutdown(socket.SHUT_WR)
    with pytest.raises(WrongAnswerError):
        _receive(caller)
