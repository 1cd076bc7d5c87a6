"""Frames to messages and back, and everything that is no frame."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol import messages as m
from shared.protocol.codec import Decoder, ProtocolFault, UnknownKind, encode, kind_of
from shared.protocol.limits import MAX_FRAME, MAX_MESSAGES

AT_WORKER = Decoder(m.FromBalancer)
AT_BALANCER = Decoder(m.FromWorker)

pack = msgspec.msgpack.encode


def test_a_frame_keeps_the_order_of_its_messages() -> None:
    """Messages come out as they went in."""
    sent = [m.Cancel("t1", "timeout"), m.Ack(["t2"]), m.Ping(9), m.Cancel("t3")]
    assert AT_WORKER.decode(encode(sent)) == sent


def test_an_empty_frame_holds_nothing() -> None:
    """A frame without messages is no fault."""
    assert AT_WORKER.decode(encode([])) == []


def test_a_kind_is_an_integer_on_the_wire() -> None:
    """The first element of a message is its kind."""
    assert kind_of(m.Goodbye) == 66
    assert encode([m.Ping(1)]) == b"\x91\x92\x40\x01"


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (b"", "not an array"),
        (b"\xc1", "not an array"),
        (b"\xc0", "not an array"),
        (pack({"kind": 1}), "not an array"),
        (pack([64, 1]), "not an array"),  # a message that is in no frame
        (pack([[64, 1]]) + b"\x00", "not an array"),  # trailing bytes
        (pack([[]]), "not an array"),
        (pack([["64", 1]]), "not an array"),
        (pack([[True, 1]]), "not an array"),
        (b"\xdc\x00", "not an array"),
        (b"\xdd\x00\x00\x00\x01", "not an array"),
        (b"\x91\x92\x05\xdd\x7f\xff\xff\xff", "not an array"),  # a list that claims two billion
        (b"\x91\x93\x40\x01" + b"\x91" * 100_000 + b"\xc0", "not an array"),  # deep nesting
        (b"\xdd\xff\xff\xff\xff", "4294967295 messages"),
        (pack([[64, 1]] * (MAX_MESSAGES + 1)), f"{MAX_MESSAGES + 1} messages"),
        (bytes(MAX_FRAME + 1), f"{MAX_FRAME + 1} bytes"),
        (pack([[64]]), "malformed message of kind 64"),
        (pack([[64, "1"]]), "malformed message of kind 64"),
        (pack([[3, "token", 7]]), "malformed message of kind 3"),
        (b"\x91\x93\x03\xa1\xff\xa1a", "malformed message of kind 3"),  # bad UTF-8
        (pack([[64, 1], [33, 0, 1, 1, 0]]), "kind 33 comes from the wrong side"),
    ],
)
def test_what_is_no_frame_is_a_fault(frame: bytes, problem: str) -> None:
    """A peer that breaks the protocol is found out, whatever it sends."""
    found = AT_WORKER.decode(frame)
    assert isinstance(found, ProtocolFault)
    assert problem in found.problem


def test_a_full_frame_is_no_fault() -> None:
    """The bound itself is allowed."""
    found = AT_WORKER.decode(pack([[64, 1]] * MAX_MESSAGES))
    assert isinstance(found, list)
    assert len(found) == MAX_MESSAGES


@pytest.mark.parametrize("kind", [31, 63, 127, -1, 2**63, 0])
def test_unknown_kinds_are_reported_in_their_place(kind: int) -> None:
    """A message of a newer version does not hide its neighbours."""
    found = AT_BALANCER.decode(pack([[64, 1], [kind, {"any": "thing"}], [65, 2]]))
    assert found == [m.Ping(1), UnknownKind(kind), m.Pong(2)]


def test_a_malformed_message_beside_an_unknown_one_is_still_a_fault() -> None:
    """Tolerance is for what is newer, not for what is wrong."""
    assert isinstance(AT_WORKER.decode(pack([[99], [64, "x"]])), ProtocolFault)


def test_half_a_surrogate_pair_does_not_hold_up_a_frame() -> None:
    """A text that UTF-8 cannot carry is sent with a question mark, and its neighbours unchanged."""
    frame = encode([m.Ping(1), m.Finished("t", "id", "failed", message="bad \ud800 text")])
    assert AT_BALANCER.decode(frame) == [
        m.Ping(1),
        m.Finished("t", "id", "failed", message="bad ? text"),
    ]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise(frame: bytes) -> None:
    """Whatever comes is a list of messages or a fault."""
    for decoder in (AT_WORKER, AT_BALANCER):
        assert isinstance(decoder.decode(frame), list | ProtocolFault)
