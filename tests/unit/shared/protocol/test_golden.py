"""The golden files of the link: one frame of every kind, as every version must send and read it."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from shared.protocol import messages as m
from shared.protocol.codec import Decoder, UnknownKind, encode, kind_of
from tests.unit.shared.protocol.golden_frames import (
    EXAMPLES,
    GOLDEN,
    frame_in,
    golden_text,
    path_of,
)

ANY = Decoder(m.AnyMessage)
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: type(each).__name__)


def _fields(message: m.Message) -> list[object]:
    """Return a message as a program that knows nothing of our classes sees it."""
    fields: list[object] = msgspec.msgpack.decode(encode([message]), type=list[list[object]])[0]
    return fields


def test_every_kind_has_an_example_and_a_file() -> None:
    """No kind of message is without its golden file, and no file without its kind."""
    kinds = set(get_args(m.AnyMessage))
    assert {type(example) for example in EXAMPLES} == kinds
    assert {path.name for path in GOLDEN.iterdir()} == {path_of(each).name for each in EXAMPLES}


@each_example
def test_a_message_is_sent_as_its_golden_file_says(example: m.AnyMessage) -> None:
    """The frame, its dump and its decoded form are the ones in the file."""
    text = path_of(example).read_text("utf-8")
    assert frame_in(text) == encode([example])
    assert golden_text(example) == text


@each_example
def test_a_golden_frame_is_read(example: m.AnyMessage) -> None:
    """What the file holds is decoded to the same message."""
    frame = frame_in(path_of(example).read_text("utf-8"))
    assert ANY.decode(frame) == [example]


@each_example
def test_fields_that_are_not_known_yet_are_ignored(example: m.AnyMessage) -> None:
    """A newer peer may add fields at the end of any message."""
    fields = [*_fields(example), "new", 3, {"deep": [1]}]
    assert ANY.decode(msgspec.msgpack.encode([fields])) == [example]


@each_example
def test_optional_fields_may_be_missing(example: m.AnyMessage) -> None:
    """An older peer does not send the fields that were added since; their defaults count."""
    kind = type(example)
    required = [f for f in msgspec.structs.fields(kind) if f.required]
    short = _fields(example)[: 1 + len(required)]
    assert ANY.decode(msgspec.msgpack.encode([short])) == [
        kind(*[getattr(example, field.encode_name) for field in required])
    ]


@each_example
def test_a_required_field_may_not_be_missing(example: m.AnyMessage) -> None:
    """A message that ends too early is malformed, not half a message."""
    required = [f for f in msgspec.structs.fields(type(example)) if f.required]
    short = _fields(example)[: len(required)]
    found = ANY.decode(msgspec.msgpack.encode([short]))
    assert "malformed" in str(found)


def test_a_kind_that_is_not_known_is_told_apart() -> None:
    """The message of a newer peer is skipped, and its neighbours are read."""
    unknown = max(kind_of(kind) for kind in get_args(m.AnyMessage)) + 1
    frame = msgspec.msgpack.encode([[64, 1], [unknown, "what", {"is": "this"}], [64, 2]])
    assert ANY.decode(frame) == [m.Ping(1), UnknownKind(unknown), m.Ping(2)]
