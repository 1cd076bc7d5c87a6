"""The frames between a worker and its children."""

from __future__ import annotations

import msgspec
import pytest

from shared.task import PieceKind
from worker import child_protocol
from worker.child_protocol import (
    LENGTH_BYTES,
    Address,
    Emitted,
    FromChild,
    FromWorker,
    Logged,
    Prepare,
    Raised,
    Ready,
    Returned,
    Start,
    Streamed,
    Told,
    frame,
    read_from_child,
    read_from_worker,
)

PLACE = Address("folder", "module", "file.py", "name")
TO_CHILD: list[FromWorker] = [
    Prepare([PLACE]),
    Start(PLACE, "task", "token", 2, b"{}", True, b'{"m":1}', "corr", 1.5),
]
TO_WORKER: list[FromChild] = [
    Ready(),
    Streamed(PieceKind.BYTES, b"\x00\xff"),
    Told(b"{}"),
    Emitted("name", b"1"),
    Logged("info", b"{}"),
    Returned(None),
    Returned(b"[1]"),
    Raised("function_error", "message", "ValueError", b"[]"),
]


@pytest.mark.parametrize("message", TO_CHILD)
def test_what_a_worker_says_is_read_back(message: FromWorker) -> None:
    """Length, then the message."""
    data = frame(message)
    assert int.from_bytes(data[:LENGTH_BYTES], "big") == len(data) - LENGTH_BYTES
    assert read_from_worker(data[LENGTH_BYTES:]) == message


@pytest.mark.parametrize("message", TO_WORKER)
def test_what_a_child_says_is_read_back(message: FromChild) -> None:
    """The same in the other direction."""
    assert read_from_child(frame(message)[LENGTH_BYTES:]) == message


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\x63", frame(TO_CHILD[0])[LENGTH_BYTES:]])
def test_nonsense_is_noticed(data: bytes) -> None:
    """A child is an author's process: whatever it writes is read with care."""
    with pytest.raises(msgspec.MsgspecError):
        read_from_child(data)


def test_a_frame_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large is refused where it is made."""
    monkeypatch.setattr(child_protocol, "MAX_FRAME_BYTES", 20)
    with pytest.raises(ValueError, match="do not fit"):
        frame(Returned(b"x" * 21))
