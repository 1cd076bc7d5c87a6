"""Whatever comes from the network, a machine neither raises nor hangs, and what it sends is well formed."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.protocol import messages as m
from shared.protocol.codec import Decoder, encode, kind_of
from shared.protocol.link import Link
from tests.fakes.link_pair import LinkPair
from tests.unit.shared.protocol.golden_frames import EXAMPLES
from tests.unit.shared.protocol.recorders import RecordingBalancer, RecordingWorker

FRAMES = [encode([example]) for example in EXAMPLES]
KINDS = [kind_of(kind) for kind in get_args(m.AnyMessage)]
MAX_REPLIES = 50  # frames that a machine may send in answer to one

roles = pytest.mark.parametrize("name", ["balancer", "worker"])


def machine(name: str, *, up: bool) -> tuple[Link, Decoder]:
    """Return a machine that has just dispatched or taken something, and what reads its frames."""
    pair = LinkPair(RecordingBalancer(), RecordingWorker())
    if up:
        pair.connect()
        for token in ("b7f3-1a", "t"):
            pair.balancer.dispatch(
                token=token, task_id="id", function="f", mode="sync", input=bytes(70_000)
            )
        pair.settle()
    if name == "balancer":
        return pair.balancer, Decoder(m.FromBalancer)
    return pair.worker, Decoder(m.FromWorker)


def survives(link: Link, reader: Decoder, frames: list[bytes]) -> None:
    """Let frames arrive, and look at everything that is sent in answer."""
    for n, frame in enumerate(frames):
        link.receive(frame, 2000.0 + n)
        link.tick(2000.0 + n)
        answers = [link.flush() for _ in range(MAX_REPLIES)]
        assert answers[-1] is None, "the machine never stops sending"
        for answer in answers:
            assert answer is None or isinstance(reader.decode(answer), list)
    link.closed(3000.0)
    assert link.flush() is None


@st.composite
def mutated_frames(draw: st.DrawFn) -> bytes:
    """A valid frame with bytes changed, cut out, put in or repeated."""
    frame = bytearray(draw(st.sampled_from(FRAMES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(frame)))
        some = draw(st.binary(max_size=4))
        cut = draw(st.integers(0, 4))
        frame[at : at + cut] = some
    return bytes(frame)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from(["b7f3-1a", "t", "sync", "text", "succeeded", ""])
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=7),
    max_leaves=12,
)


@st.composite
def plausible_frames(draw: st.DrawFn) -> bytes:
    """Messages of known kinds, with fields that are right more often than by chance."""
    frame: list[object] = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            example = draw(st.sampled_from(EXAMPLES))
            fields = list(msgspec.structs.asdict(example).values())
            for _ in range(draw(st.integers(0, 2))):
                fields[draw(st.integers(0, len(fields) - 1))] = draw(values)
            frame.append([kind_of(type(example)), *fields])
        else:
            frame.append([draw(st.sampled_from(KINDS)), *draw(st.lists(values, max_size=9))])
    return msgspec.msgpack.encode(frame)


@roles
@given(frames=st.lists(st.binary(max_size=64), min_size=1, max_size=4), up=st.booleans())
def test_arbitrary_bytes_are_survived(name: str, frames: list[bytes], up: bool) -> None:
    """Noise ends the link at most."""
    survives(*machine(name, up=up), frames)


@roles
@given(frames=st.lists(mutated_frames(), min_size=1, max_size=6), up=st.booleans())
def test_mutated_frames_are_survived(name: str, frames: list[bytes], up: bool) -> None:
    """A flipped bit ends the link at most."""
    survives(*machine(name, up=up), frames)


@roles
@settings(max_examples=40)  # drawing them takes longer than surviving them
@given(frames=st.lists(plausible_frames(), min_size=1, max_size=6))
def test_messages_that_make_no_sense_are_survived(name: str, frames: list[bytes]) -> None:
    """A peer that speaks the language and lies ends the link at most."""
    survives(*machine(name, up=True), frames)
