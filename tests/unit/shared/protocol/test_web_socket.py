"""Frames of a WebSocket: the same bytes as the `websockets` package makes and reads, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader
from websockets.utils import apply_mask

from shared.protocol.web_socket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TOO_BIG,
    UNSUPPORTED,
    FrameFault,
    FrameReader,
    Received,
    closing,
    frame,
)

KEY = b"\x01\x02\x03\x04"
MAX = 200_000

payloads = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]).map(lambda size: b"x" * size),
)
keys = st.binary(min_size=4, max_size=4)


def reader(*, masked: bool, max_size: int = MAX) -> FrameReader:
    """Return a server's reader, or a client's."""
    return FrameReader(apply_mask if masked else None, max_size)


def theirs(data: bytes, *, masked: bool) -> Frame:
    """Read one frame with the package."""
    stream = StreamReader()
    stream.feed_data(data)
    parsing = Frame.parse(stream.read_exact, mask=masked)
    with pytest.raises(StopIteration) as ended:
        next(parsing)
    value: object = ended.value.value
    assert isinstance(value, Frame)
    return value


@given(payloads, st.none() | keys)
def test_the_package_reads_what_we_build(data: bytes, key: bytes | None) -> None:
    """Of every length, masked and not."""
    built = frame(BINARY, data, key, apply_mask)
    read = theirs(built, masked=key is not None)
    assert (read.opcode, bytes(read.data), read.fin) == (Opcode.BINARY, data, True)


@given(st.data(), st.booleans())
def test_we_read_what_the_package_builds_however_it_is_cut(
    data: st.DataObject, masked: bool
) -> None:  # hypothesis draws it
    """Messages in fragments with control frames between them, in pieces of any size."""
    stream = b""
    expected: list[Received] = []
    for _ in range(data.draw(st.integers(1, 4))):
        parts = data.draw(st.lists(payloads, min_size=1, max_size=3))
        parts = [part for part in parts[:-1] if part] + parts[-1:]  # none is empty but the last
        for n, part in enumerate(parts):
            last = n == len(parts) - 1
            opcode = Opcode.CONT if n else Opcode.BINARY
            stream += Frame(opcode, part, fin=last).serialize(mask=masked)
            if last:
                expected.append(Received(BINARY, b"".join(parts)))
            if data.draw(st.booleans()):
                note = data.draw(st.binary(max_size=125))
                stream += Frame(Opcode.PING, note).serialize(mask=masked)
                expected.append(Received(PING, note))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    ours = reader(masked=masked, max_size=10 * MAX)
    found = [each for piece in pieces for each in ours.feed(piece)]
    assert found == expected


def test_every_byte_may_come_alone() -> None:
    """Nothing is given out before it is whole."""
    stream = frame(BINARY, b"a" * 130, KEY, apply_mask) + frame(PONG, b"p", KEY, apply_mask)
    ours = reader(masked=True)
    found = [ours.feed(bytes([byte])) for byte in stream]
    assert [n for n, each in enumerate(found) if each] == [137, len(stream) - 1]
    assert [each for some in found for each in some] == [
        Received(BINARY, b"a" * 130),
        Received(PONG, b"p"),
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xc2\x00", PROTOCOL_ERROR),
        (b"\x82\x80\x00\x00\x00\x00", PROTOCOL_ERROR),
        (b"\x83\x00", PROTOCOL_ERROR),
        (b"\x8b\x00", PROTOCOL_ERROR),
        (b"\x80\x00", PROTOCOL_ERROR),
        (b"\x02\x00\x82\x00", PROTOCOL_ERROR),
        (b"\x09\x00", PROTOCOL_ERROR),
        (b"\x89\x7e\x00\x7e", PROTOCOL_ERROR),
        (b"\x02\x01a\x00\x00", PROTOCOL_ERROR),
        (b"\x81\x00", UNSUPPORTED),
        (b"\x82\x7e\x10\x01", TOO_BIG),
        (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", TOO_BIG),
        (b"\x02\x7e\x08\x00" + bytes(2048) + b"\x80\x7e\x08\x01", TOO_BIG),
    ],
    ids=[
        "reserved bit", "masked by a server", "unknown data", "unknown control", "no beginning", "two beginnings",
        "control in fragments", "long control", "empty fragment", "text", "large", "larger than all",
        "large in fragments",
    ],
)  # fmt: skip
def test_a_rule_that_is_broken_is_a_fault(data: bytes, code: int) -> None:
    """Seen in the head, before the payload is waited for."""
    with pytest.raises(FrameFault) as caught:
        reader(masked=False, max_size=4096).feed(data)
    assert caught.value.code == code


def test_a_client_must_mask() -> None:
    """RFC 6455 §5.1."""
    with pytest.raises(FrameFault):
        reader(masked=True).feed(b"\x82\x00")


def test_a_close_names_its_code() -> None:
    """In two bytes."""
    ours = reader(masked=False)
    assert ours.feed(frame(CLOSE, closing(1000))) == [Received(CLOSE, b"\x03\xe8")]
