"""What both roles share: the life of a link, its heartbeat, its end. Every case runs for both."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared.protocol.balancer_link import BalancerLink
from shared.protocol.codec import encode
from shared.protocol.limits import MAX_FRAME, PART_BYTES
from shared.protocol.link import Link, LinkState
from shared.protocol.messages import Finished, Goodbye, Hello, Message, Ping, Pong, Unsupported
from shared.protocol.worker_link import WorkerLink
from tests.fakes.link_pair import Direction, FakeWire, LinkPair
from tests.unit.shared.protocol.recorders import RecordingBalancer, RecordingWorker, welcome_message


@dataclass
class Role:
    """One end of a pair, looked at from outside."""

    pair: LinkPair
    name: str
    handler: RecordingBalancer | RecordingWorker
    other: RecordingBalancer | RecordingWorker

    @property
    def link(self) -> Link:
        """The machine under test."""
        return self.pair.balancer if self.name == "balancer" else self.pair.worker

    @property
    def wire(self) -> FakeWire:
        """Its wire."""
        return self.pair.balancer_wire if self.name == "balancer" else self.pair.worker_wire

    @property
    def outward(self) -> Direction:
        """What it sends."""
        return self.pair.to_worker if self.name == "balancer" else self.pair.to_balancer

    def say(self, *messages: Message) -> None:
        """Let a frame arrive at it."""
        self.link.receive(encode(messages), self.pair.now_s)


@pytest.fixture(params=["balancer", "worker"])
def role(request: pytest.FixtureRequest) -> Role:
    """Either role, on a link that is up."""
    balancer, worker = RecordingBalancer(), RecordingWorker()
    pair = LinkPair(balancer, worker)
    pair.connect()
    name = str(request.param)
    mine, other = (balancer, worker) if name == "balancer" else (worker, balancer)
    balancer.told.clear()
    worker.told.clear()
    return Role(pair, name, mine, other)


def test_a_new_link_is_opening_until_both_have_introduced_themselves(role: Role) -> None:
    """A machine goes through its states once, in one direction."""
    fresh = LinkPair(RecordingBalancer(), RecordingWorker())
    link = fresh.balancer if role.name == "balancer" else fresh.worker
    seen = [link.state]
    fresh.open()
    seen.append(link.state)
    fresh.settle()
    seen.append(link.state)
    fresh.cut()
    seen.append(link.state)
    assert seen == [LinkState.OPENING, LinkState.OPENING, LinkState.UP, LinkState.CLOSED]


def test_nothing_is_delivered_after_closed(role: Role) -> None:
    """What a killed link had not read yet counts for nothing."""
    role.link.closed(role.pair.now_s)
    role.say(Ping(1), Goodbye("late"))
    role.link.receive(b"noise", role.pair.now_s)
    role.link.tick(role.pair.now_s + 99)
    role.link.closed(role.pair.now_s)
    assert role.handler.told == []
    assert role.link.flush() is None
    assert role.wire.closing is None


def test_a_frame_is_not_read_past_a_goodbye(role: Role) -> None:
    """The peer's Goodbye ends the link, whatever stands behind it."""
    role.say(Goodbye("shutting_down", "see you"), Ping(1), Goodbye("again"))
    assert role.handler.told == [("broken", "shutting_down", "see you")]
    assert role.wire.closing == ("shutting_down", "see you")
    assert role.link.flush() is None
    role.say(Ping(2))
    assert len(role.handler.told) == 1


def test_a_goodbye_may_come_before_the_introduction() -> None:
    """Who is refused learns why."""
    for name in ("balancer", "worker"):
        balancer, worker = RecordingBalancer(), RecordingWorker()
        pair = LinkPair(balancer, worker)
        link = pair.balancer if name == "balancer" else pair.worker
        link.receive(encode([Goodbye("unauthorized", "who are you")]), 1.0)
        told = balancer.told if name == "balancer" else worker.told
        assert told == [("broken", "unauthorized", "who are you")]


def test_our_goodbye_is_last_and_final(role: Role) -> None:
    """What was queued before is still sent, then nothing, and nothing is read any more."""
    role.say(Ping(7))
    role.link.goodbye("shutting_down", "bye")
    role.link.goodbye("twice")
    role.say(Ping(8), Goodbye("crossing"))
    assert role.handler.told == []
    assert role.wire.closing == ("shutting_down", "bye")
    role.pair.settle()
    assert role.other.told == [("broken", "shutting_down", "bye")]
    assert role.outward.sent[-1] == encode([Pong(7), Goodbye("shutting_down", "bye")])


def test_a_goodbye_leaves_large_bodies_out(role: Role) -> None:
    """A link that closes on purpose does not wait for megabytes."""
    body = bytes(9 * PART_BYTES)
    if role.name == "balancer":
        role.pair.balancer.dispatch(token="t", task_id="id", function="f", mode="sync", input=body)
        role.pair.flush_to_worker()
        role.pair.deliver_to_worker()
        role.pair.flush_to_balancer()
        role.pair.deliver_to_balancer()
    else:
        role.pair.worker.finished(Finished("t", "id", "succeeded"), body)
    assert role.link.buffered >= len(body)
    role.link.goodbye("shutting_down")
    role.pair.settle()
    assert role.link.buffered == 0
    assert max(len(frame) for frame in role.outward.sent) < PART_BYTES
    assert role.other.told[-1] == ("broken", "shutting_down", "")


def test_a_goodbye_before_the_link_is_up_is_sent_too() -> None:
    """A side that changes its mind says so."""
    balancer, worker = RecordingBalancer(), RecordingWorker()
    pair = LinkPair(balancer, worker)
    pair.open()
    pair.worker.goodbye("shutting_down")
    pair.settle()
    assert balancer.told == [("broken", "shutting_down", "")]
    assert worker.told == []


def test_pings_are_answered_by_number(role: Role) -> None:
    """Of several pings that wait, the newest is answered: that is the one whose way is short."""
    role.say(Ping(4), Ping(5))
    role.pair.flush()
    assert role.outward.sent[-1] == encode([Pong(5)])


def test_the_round_trip_is_measured(role: Role) -> None:
    """Latency is the time between a ping and its pong."""
    assert role.link.latency_s is None
    role.link.tick(role.pair.now_s)
    role.pair.flush()
    role.pair.now_s += 0.25
    role.pair.settle()
    assert role.link.latency_s == 0.25


def test_an_idle_link_is_not_silent(role: Role) -> None:
    """Pings and pongs are life enough for an hour without a task."""
    role.pair.advance(60.0)
    assert role.handler.told == []
    assert role.link.up


def test_silence_is_told_once_and_so_is_its_end(role: Role) -> None:
    """An open link on which nothing comes is silent after interval and time-out, until something comes."""
    role.pair.to_balancer.hold()
    role.pair.to_worker.hold()
    role.pair.advance(2.9)
    assert role.handler.told == []
    role.pair.advance(3.3)
    assert role.handler.told == [("silent",)]
    role.pair.advance(20.0)
    assert role.handler.told == [("silent",)]
    role.say(Unsupported(9))
    assert role.handler.told == [("silent",), ("heard",)]
    assert role.link.up


def test_any_traffic_counts_as_life(role: Role) -> None:
    """A peer that never answers a ping but speaks is alive."""
    role.pair.to_balancer.hold()
    role.pair.to_worker.hold()
    for _ in range(20):
        role.pair.advance(1.0)
        role.say(Unsupported(9))
    assert role.handler.told == []


def test_a_peer_that_never_introduces_itself_is_silent() -> None:
    """The wait for the first message is bounded, on both sides."""
    for name in ("balancer", "worker"):
        balancer, worker = RecordingBalancer(), RecordingWorker()
        pair = LinkPair(balancer, worker)
        pair.open()
        pair.to_worker.hold()
        pair.advance(3.3)
        told = balancer.told if name == "balancer" else worker.told
        assert told == [("silent",)]


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"GET / HTTP/1.1", bytes(MAX_FRAME + 1)])
def test_what_is_no_frame_closes_the_link(role: Role, frame: bytes) -> None:
    """A peer that speaks something else is told so and left."""
    role.link.receive(frame, role.pair.now_s)
    assert role.handler.names() == ["broken"]
    role.pair.settle()
    assert role.other.names() == ["broken"]
    assert role.handler.told[0][1] == role.other.told[0][1] == "protocol_error"


def test_unsupported_is_taken_note_of_and_no_more(role: Role) -> None:
    """A peer that does not know an optional message goes on as before."""
    role.say(Unsupported(99))
    assert role.handler.told == []
    assert role.link.up


def test_a_message_that_no_frame_carries_ends_the_link() -> None:
    """Facts without bounds are our own fault, and are told instead of sent."""
    balancer, worker = RecordingBalancer(), RecordingWorker()
    pair = LinkPair(balancer, worker)
    pair.connect()
    pair.worker.facts(bytes(MAX_FRAME))
    pair.settle()
    assert worker.told[-1][:2] == ("broken", "protocol_error")
    assert balancer.told[-1][:2] == ("broken", "protocol_error")
    assert max(len(frame) for frame in pair.to_balancer.sent) < MAX_FRAME


def test_two_links_of_one_handler_do_not_mix() -> None:
    """After a reconnect, numbers start anew and frames of the old link are not read."""
    balancer, worker = RecordingBalancer(), RecordingWorker()
    pair = LinkPair(balancer, worker)
    pair.connect()
    pair.balancer.dispatch(token="t1", task_id="id", function="f", mode="sync", input=b"{}")
    pair.flush()
    old, late = pair.worker, pair.to_worker.frames[0]
    pair.connect()
    old.receive(late, pair.now_s)
    assert "dispatch" not in worker.names()
    n = pair.balancer.dispatch(token="t2", task_id="id", function="f", mode="sync", input=b"{}")
    pair.settle()
    assert n == 1
    assert [each[1] for each in worker.told if each[0] == "dispatch"] == ["t2"]


def test_a_peer_that_is_not_heard_for_three_seconds_is_silent_by_default() -> None:
    """Both roles ping every three seconds and give the other three to answer, as DESIGN says."""
    balancer, worker = RecordingBalancer(), RecordingWorker()
    pair = LinkPair(balancer, worker)
    ends: list[tuple[Link, RecordingBalancer | RecordingWorker, Message]] = [
        (
            BalancerLink(balancer, pair.balancer_wire, balancer_id="b", boot_id="boot"),
            balancer,
            welcome_message(),
        ),
        (WorkerLink(worker, pair.worker_wire), worker, Hello(1, 1, "b", "boot")),
    ]
    for link, handler, first in ends:
        link.opened(0.0)
        link.receive(encode([first]), 0.0)
        while link.flush():
            pass
        handler.told.clear()
        pings: list[float] = []
        for quarter in range(15):
            link.tick(quarter / 4)
            while link.flush():
                pings.append(quarter / 4)
        assert pings == [0.0, 3.0]
        assert handler.told == [("silent",)]
