"""Both link machines in conversation while somebody between them damages, swaps, repeats and invents messages.

The honest wire with its faults is tested in tests/unit/shared/protocol/test_exactly_once.py, single
frames in test_fuzz.py beside it. Here lies come in the middle of real work, in both directions at
once; what a lie made somebody believe may be wrong, but no rule of the machines is broken, and on the
next good link all work ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shared.protocol import messages as m
from shared.protocol.codec import Decoder, encode
from shared.protocol.limits import MAX_FRAME, PART_BYTES
from shared.protocol.link import Link, LinkState
from tests.fakes.link_pair import Direction, LinkPair
from tests.fuzz.amount import EXAMPLES
from tests.fuzz.link_peers import WaryBalancer, WaryWorker
from tests.unit.shared.protocol.golden_frames import EXAMPLES as EVERY_MESSAGE

SLOTS = 3
SIZES = st.sampled_from([2, 500, PART_BYTES + 1, 3 * PART_BYTES])
MESSAGES = [encode([message]) for message in EVERY_MESSAGE]
DECODERS = {"worker": Decoder(m.FromBalancer), "balancer": Decoder(m.FromWorker)}
# Names of what there is, so that a lie may be about it.
tokens = st.integers(1, 6).map("token-{}".format)
odd = st.sampled_from(
    [None, True, -1, 0, 1, 2**31, 2**63, 1.5, float("inf"), float("nan"), "", "sync", b"", []]
)

TO_WORKER = [each for each in EVERY_MESSAGE if isinstance(each, get_args(m.FromBalancer))]
TO_BALANCER = [each for each in EVERY_MESSAGE if isinstance(each, get_args(m.FromWorker))]
ODD: dict[object, list[object]] = {
    bool: [True, False],
    int: [-1, 0, 1, 2, 5, 2**31, 2**63 - 1],
    float: [-1.0, 0.0, 1e308, float("inf"), float("nan")],
    str: ["", "sync", "stream", "succeeded", "token-1", "x" * 1000],
    bytes: [b"", b"{}", b"x" * 70_000],
    list: [[], ["token-1", "token-2"]],
}

Frame = list[object]
sides = st.sampled_from(["worker", "balancer"])


@st.composite
def plausible(draw: st.DrawFn, kinds: list[m.AnyMessage]) -> m.AnyMessage:
    """A message about what there may be, of which one field may be odd, and of the right type still."""
    message = draw(st.sampled_from(kinds))
    fields = msgspec.structs.asdict(message)
    if "token" in fields:
        fields["token"] = draw(tokens)
    if "n" in fields:
        fields["n"] = draw(st.integers(1, 6))
    name = draw(st.sampled_from(["", *sorted(fields)]))  # "" for none
    kind: object = fields.get(name).__class__
    if kind in ODD:
        fields[name] = draw(st.sampled_from(ODD[kind]))
    return type(message)(**fields)


def _opened(frame: bytes) -> list[Frame]:
    """Return the messages of a frame as plain arrays."""
    try:
        found: object = msgspec.msgpack.decode(frame)
    except (msgspec.MsgspecError, ValueError):
        return []  # damaged before
    items = cast("list[object]", found) if isinstance(found, list) else []
    return [cast("Frame", item) for item in items if isinstance(item, list)]


def _replaced(frame: bytes, at: int, size: int, some: bytes) -> bytes:
    at %= len(frame) + 1
    return frame[:at] + some + frame[at + size :]


class HostileWire(RuleBasedStateMachine):
    """Tasks come, stream and end while the wire lies."""

    def __init__(self) -> None:
        super().__init__()
        self.balancer, self.worker = WaryBalancer(), WaryWorker(SLOTS)
        self.pair = LinkPair(self.balancer, self.worker)
        self.old: list[bytes] = [*MESSAGES]  # what may be said again
        self.looked = {"worker": 0, "balancer": 0}
        self._open()

    @initialize(up=st.booleans(), sizes=st.lists(SIZES, max_size=4))
    def begin(self, up: bool, sizes: list[int]) -> None:
        """The link is up and tasks run, or it opens just now."""
        for size in sizes:
            self.balancer.submit(b"s" * size)
        if up:
            self.pair.settle()

    # The wire

    def _open(self) -> None:
        self._keep()
        self.pair.cut()
        self._gone()
        self.pair.open_new()
        self.looked = {"worker": 0, "balancer": 0}
        self.balancer.link, self.worker.link = self.pair.balancer, self.pair.worker

    def _keep(self) -> None:
        """Look at what was sent since, which is well formed, and keep some of it for later."""
        for side in ("worker", "balancer"):
            for frame in self._way(side).sent[self.looked[side] :]:
                assert len(frame) <= MAX_FRAME
                assert isinstance(DECODERS[side].decode(frame), list)
                if len(self.old) < 60 and len(frame) < 2000:
                    self.old.append(frame)
            self.looked[side] = len(self._way(side).sent)

    def _way(self, side: str) -> Direction:
        return self.pair.to_worker if side == "worker" else self.pair.to_balancer

    def _machine(self, side: str) -> Link:
        return self.pair.worker if side == "worker" else self.pair.balancer

    def _gone(self) -> None:
        """Both have learned that the socket is closed."""
        self.balancer.lost()
        self.worker.lost()

    def _end_what_is_over(self) -> None:
        """Dial again when a link has ended, as the shells do."""
        if self.pair.balancer_wire.closing or self.pair.worker_wire.closing:
            for side in (
                "worker",
                "balancer",
            ):  # what was on its way is read, and counts for nothing
                for frame in self._way(side).frames:
                    self._machine(side).receive(frame, self.pair.now_s)
            self._open()
            self.pair.settle()

    def _send(self, side: str, frames: int) -> None:
        if side == "worker":
            self.pair.flush_to_worker(frames)
        else:
            self.pair.flush_to_balancer(frames)
        self._keep()

    def _deliver(self, side: str) -> None:
        if side == "worker":
            self.pair.deliver_to_worker()
        else:
            self.pair.deliver_to_balancer()
        self._end_what_is_over()

    def _change(self, side: str, change: Callable[[bytes], bytes]) -> None:
        """Change the frame that arrives next, and let it arrive."""
        self._send(side, 1)
        frames = self._way(side).frames
        if frames:
            frames[0] = change(frames[0])
            self._deliver(side)

    def _insert(self, side: str, frame: bytes) -> None:
        """Let a frame arrive that the other side has not sent, or not now."""
        self._way(side).frames.appendleft(frame)
        self._deliver(side)

    # Work

    @rule(size=SIZES)
    def submit(self, size: int) -> None:
        """A task is accepted."""
        self.balancer.submit(b"s" * size)

    @rule()
    def submit_large(self) -> None:
        """A task is accepted whose slot is reserved while its body is still on the way."""
        self.balancer.submit(b"s" * (3 * PART_BYTES))
        self._send("worker", 1)
        self._deliver("worker")

    @precondition(lambda self: self.worker.running)
    @rule(data=st.data(), size=SIZES)
    def stream(self, data: st.DataObject, size: int) -> None:
        """An attempt sends a piece."""
        self.worker.piece(data.draw(st.sampled_from(sorted(self.worker.running))), b"p" * size)

    @precondition(lambda self: self.worker.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """An attempt ends."""
        self.worker.finish(data.draw(st.sampled_from(sorted(self.worker.running))))

    @precondition(lambda self: self.balancer.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A caller leaves."""
        tasks = self.balancer.tasks
        self.balancer.cancel(tasks[data.draw(st.sampled_from(sorted(tasks)))])

    @rule(token=tokens, on=st.booleans())
    def talk(self, token: str, on: bool) -> None:
        """Both say what else there is to say."""
        self.pair.balancer.demand(3, 1.0)
        self.pair.balancer.maintenance(on)
        self.pair.worker.facts(b"{}", b"[]" if on else None)
        self.pair.worker.event(token, "name", b"{}")

    @rule(side=sides, frames=st.integers(1, 4))
    def arrive(self, side: str, frames: int) -> None:
        """Some frames are sent and arrive."""
        self._send(side, frames)
        for _ in range(frames):
            self._deliver(side)

    @rule(side=sides, frames=st.integers(1, 4))
    def linger(self, side: str, frames: int) -> None:
        """Some frames are sent and stay on their way."""
        self._send(side, frames)

    @rule()
    def settle(self) -> None:
        """Everything arrives; two machines always come to an end of their talk."""
        self.pair.settle()
        if self.pair.balancer.state is LinkState.CLOSED:
            self._gone()
            self._open()

    @rule()
    def reconnect(self) -> None:
        """A new link takes the place of what there is."""
        self._open()

    @rule(seconds=st.sampled_from([0.1, 3.1]))
    def time_passes(self, seconds: float) -> None:
        """Both sides look at the time."""
        self.pair.now_s += seconds
        self.pair.balancer.tick(self.pair.now_s)
        self.pair.worker.tick(self.pair.now_s)

    # Lies

    @rule(side=sides, at=st.integers(0, 400), some=st.binary(min_size=1, max_size=3))
    def damage(self, side: str, at: int, some: bytes) -> None:
        """Some bytes of a frame are others."""
        self._change(side, lambda frame: _replaced(frame, at, len(some), some))

    @rule(side=sides, at=st.integers(0, 400), size=st.integers(1, 9))
    def cut_out(self, side: str, at: int, size: int) -> None:
        """Some bytes of a frame are missing."""
        self._change(side, lambda frame: _replaced(frame, at, size, b""))

    @rule(side=sides, n=st.integers(0, 5), how=st.sampled_from(["leave out", "repeat", "reverse"]))
    def rearrange(self, side: str, n: int, how: str) -> None:
        """A message of a frame is missing or there twice, or their order is another."""

        def change(frame: bytes) -> bytes:
            found = _opened(frame)
            if not found:
                return frame
            at = n % len(found)
            if how == "reverse":
                found.reverse()
            else:
                found[at : at + 1] = [found[at]] * (2 if how == "repeat" else 0)
            return msgspec.msgpack.encode(found)

        self._change(side, change)

    @rule(side=sides, n=st.integers(0, 5), place=st.integers(1, 15), value=odd | tokens)
    def replace_field(self, side: str, n: int, place: int, value: object) -> None:
        """A field of a message has another value."""

        def change(frame: bytes) -> bytes:
            found = _opened(frame)
            if found and len(found[n % len(found)]) > 1:
                message = found[n % len(found)]
                message[1 + place % (len(message) - 1)] = value
            return msgspec.msgpack.encode(found)

        self._change(side, change)

    @rule(side=sides, data=st.data())
    def say_again(self, side: str, data: st.DataObject) -> None:
        """A frame of this link or an older one, of either side, or one that nobody has sent, comes too."""
        self._insert(side, data.draw(st.sampled_from(self.old)))

    @rule(side=sides, data=st.data(), count=st.integers(1, 3))
    def invent(self, side: str, data: st.DataObject, count: int) -> None:
        """Messages that make sense, or nearly, and that nobody has sent, come too."""
        kinds = TO_WORKER if side == "worker" else TO_BALANCER
        self._insert(side, encode([data.draw(plausible(kinds)) for _ in range(count)]))

    # What holds

    @invariant()
    def no_slot_is_given_twice(self) -> None:
        """Never more runs than there are slots."""
        assert self.worker.used <= SLOTS

    def teardown(self) -> None:
        """On a good link every task ends, every slot is free, and nothing waits to be sent."""
        self._open()
        self.pair.settle()
        for _ in range(len(self.balancer.tasks) + len(self.worker.running) + 1):
            for token in list(self.worker.running):
                self.worker.finish(token)
            self.pair.settle()
        for task in self.balancer.tasks.values():
            assert task.cancelled or task.results
        assert (self.worker.reserved, self.worker.running) == (set(), {})
        assert self.pair.balancer.buffered == self.pair.worker.buffered == 0


HostileWire.TestCase.settings = hypothesis.settings(
    max_examples=16 * EXAMPLES, stateful_step_count=30
)
TestHostileWire = pytest.mark.timeout(300)(HostileWire.TestCase)  # a failure takes long to shrink
