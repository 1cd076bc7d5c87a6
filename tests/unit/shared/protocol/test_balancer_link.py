"""The balancer's machine, case by case, against a worker that says what the test wants."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from shared.protocol import messages as m
from shared.protocol.balancer_link import BalancerLink
from shared.protocol.codec import Decoder, encode
from shared.protocol.limits import (
    MAX_BACKLOG,
    MAX_BODY,
    MAX_FRAME,
    MAX_MESSAGES,
    MAX_UNKNOWN_KINDS,
    PART_BYTES,
)
from shared.protocol.link import LinkState
from tests.fakes.link_pair import FakeWire
from tests.unit.shared.protocol.recorders import RecordingBalancer, slots, welcome_message

AT_WORKER = Decoder(m.FromBalancer)


class Bench:
    """One machine, its handler, its wire, and a tester in the worker's place."""

    def __init__(self, *, up: bool = True) -> None:
        self.handler = RecordingBalancer()
        self.wire = FakeWire()
        self.link = BalancerLink(
            self.handler,
            self.wire,
            balancer_id="b",
            boot_id="boot",
            resume_window_s=1.5,
            heartbeat_interval_s=3.0,
            heartbeat_timeout_s=3.0,
        )
        self.link.opened(100.0)
        if up:
            self.sent()
            self.say(welcome_message())
            self.handler.told.clear()

    def say(self, *messages: m.Message) -> None:
        """Let a frame of the worker arrive."""
        self.link.receive(encode(messages), 100.0)

    def sent(self) -> list[m.Message]:
        """Return what the machine has sent since the last look."""
        if not self.wire.awake:
            return []
        self.wire.awake = False
        return [each for frame in iter(self.link.flush, None) for each in decoded(frame)]

    def dispatch(
        self, token: str = "t1", input: bytes = b"{}", metadata: bytes | None = None
    ) -> int:
        """Send a dispatch."""
        return self.link.dispatch(
            token=token,
            task_id=f"id-{token}",
            function="hello",
            mode="sync",
            input=input,
            metadata=metadata,
        )


def decoded(frame: bytes) -> Sequence[m.Message]:
    """Return the messages of a frame that the balancer made."""
    found = AT_WORKER.decode(frame)
    assert isinstance(found, list), found
    return [each for each in found if isinstance(each, m.Message)]


def finished(token: str = "t1", **more: object) -> m.Finished:
    """Return the end of an attempt."""
    return msgspec.structs.replace(m.Finished(token, f"id-{token}", "succeeded"), **more)


def test_hello_comes_first() -> None:
    """A balancer opens the link by saying who it is."""
    bench = Bench(up=False)
    assert bench.sent() == [m.Hello(1, 1, "b", "boot", 1.5)]
    assert bench.link.state is LinkState.OPENING


def test_the_link_is_up_with_the_welcome() -> None:
    """The handler learns who the worker is and what it holds."""
    bench = Bench(up=False)
    holding = [m.Holding("t9", "id-t9", 1, durable=True, finished=True)]
    bench.say(welcome_message(holding=holding))
    assert bench.handler.told == [("welcomed", welcome_message(holding=holding))]
    assert bench.link.up


def test_intents_do_nothing_before_the_welcome_and_after_the_end() -> None:
    """What cannot be sent is not queued, and a dispatch says so by its number."""
    for bench in (Bench(up=False), Bench()):
        if bench.link.up:
            bench.link.closed(101.0)
        bench.sent()
        bench.link.cancel("t1")
        bench.link.ack("t1")
        bench.link.credit("t1", 5)
        bench.link.demand(1, 1.0)
        bench.link.maintenance(on=True)
        assert bench.dispatch() == 0
        assert bench.sent() == []
        assert bench.link.buffered == 0


def test_dispatches_are_numbered() -> None:
    """Reports name the last dispatch that was read by the number it was given here."""
    bench = Bench()
    assert [bench.dispatch("t1"), bench.dispatch("t2", metadata=b"1")] == [1, 2]
    assert bench.link.sent == 2
    sent = bench.sent()
    assert sent == [
        m.Dispatch(1, "t1", "id-t1", "hello", "sync", b"{}"),
        m.Dispatch(2, "t2", "id-t2", "hello", "sync", b"{}", metadata=b"1"),
    ]


def test_one_wake_is_enough_for_a_frame() -> None:
    """The shell is not woken again before it has flushed."""
    bench = Bench()
    woken = bench.wire.wakes
    for n in range(5):
        bench.dispatch(f"t{n}")
        bench.link.ack(f"u{n}")
    assert bench.wire.wakes == woken + 1
    assert len(bench.sent()) == 6


def test_acks_of_a_frame_travel_in_one_message() -> None:
    """A thousand results are acknowledged at the cost of one message, and none is forgotten."""
    bench = Bench()
    tokens = [f"t{n}" for n in range(MAX_MESSAGES + 5)]
    for token in tokens:
        bench.link.ack(token)
    assert bench.wire.awake
    sent = bench.sent()
    acks = [each for each in sent if isinstance(each, m.Ack)]
    assert [token for ack in acks for token in ack.tokens] == tokens
    assert len(acks) == len(sent) == 2


def test_few_acks_leave_with_another_message_or_on_the_tick() -> None:
    """The worker only keeps the results so long, which is cheaper than a frame for each."""
    bench = Bench()
    bench.link.ack("t1")
    assert not bench.wire.awake
    bench.dispatch("t2")
    assert bench.sent()[1:] == [m.Ack(["t1"])]
    bench.link.ack("t2")
    bench.link.tick(100.1)
    assert m.Ack(["t2"]) in bench.sent()
    bench.link.tick(100.2)
    assert not bench.wire.awake


def test_a_large_result_is_acknowledged_at_once() -> None:
    """A few of them fill the worker's outbox, and then it takes no task."""
    bench = Bench()
    bench.say(finished("t1", body_size=2), m.Part("t1", b"1"), m.Part("t1", b"2", True))
    bench.link.ack("t1")
    assert bench.sent() == [m.Ack(["t1"])]


def test_the_last_demand_of_a_frame_counts() -> None:
    """A demand that is out of date is not sent."""
    bench = Bench()
    bench.link.demand(5, 1.0)
    bench.link.demand(7, 2.0)
    assert bench.sent() == [m.Demand(7, 2.0)]
    assert bench.sent() == []


def test_other_intents_become_their_message() -> None:
    """Credit, cancel and maintenance are sent as asked, in order."""
    bench = Bench()
    bench.link.credit("t1", 5)
    bench.link.cancel("t1", "timeout")
    bench.link.maintenance(on=False)
    assert bench.sent() == [m.Credit("t1", 5), m.Cancel("t1", "timeout"), m.Maintenance(on=False)]


def test_a_large_input_waits_for_its_acceptance() -> None:
    """Nothing of a large body is sent before the worker has taken the slot."""
    bench = Bench()
    body = bytes(PART_BYTES + 1)
    assert bench.dispatch(input=body) == 1
    (message,) = bench.sent()
    assert isinstance(message, m.Dispatch)
    assert (message.input, message.body_size, message.metadata_size) == (None, len(body), 0)
    assert bench.link.buffered == len(body)
    bench.say(m.Accepted("t1"))
    assert bench.sent() == [m.Body("t1", body[:PART_BYTES]), m.Body("t1", b"\0", last=True)]
    assert bench.link.buffered == 0


def test_large_metadata_travels_behind_the_input() -> None:
    """Metadata counts for the size, so that no message is larger than a frame."""
    bench = Bench()
    metadata = b"m" * PART_BYTES
    bench.dispatch(input=b"{}", metadata=metadata)
    (message,) = bench.sent()
    assert isinstance(message, m.Dispatch)
    assert (message.input, message.metadata) == (None, None)
    assert (message.body_size, message.metadata_size) == (PART_BYTES + 2, PART_BYTES)
    bench.say(m.Accepted("t1"))
    parts = [each for each in bench.sent() if isinstance(each, m.Body)]
    assert b"".join(part.data for part in parts) == b"{}" + metadata


def test_an_input_that_no_link_carries_is_not_sent() -> None:
    """A dispatch beyond MAX_BODY has no number, and the next one takes the place."""
    bench = Bench()
    assert bench.dispatch(input=bytes(MAX_BODY + 1)) == 0
    assert bench.dispatch("t2") == 1


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize(
    "end",
    [
        m.Refused("t1", "no_slot", "", slots(0, seen=1)),
        finished(status="timed_out", code="timeout"),
        None,  # our own cancel
    ],
)
def test_a_body_is_broken_off_when_its_attempt_ends(end: m.Message | None, accepted: bool) -> None:
    """After a refusal, an early end or a cancel, no part follows."""
    bench = Bench()
    bench.dispatch(input=bytes(3 * PART_BYTES))
    if accepted:
        bench.say(m.Accepted("t1"))
        bench.wire.awake = False
        bench.link.flush()
    if end is None:
        bench.link.cancel("t1")
    else:
        bench.say(end)
    bench.wire.awake = True
    assert [each for each in bench.sent() if isinstance(each, m.Body)] == []
    assert bench.link.buffered == 0
    bench.say(m.Accepted("t1"))  # it was on its way
    assert bench.sent() == []


def test_a_small_result_is_delivered_at_once() -> None:
    """The result in the message is the result."""
    bench = Bench()
    bench.say(finished(result=b"42"), finished("t2"))
    assert bench.handler.results == {"t1": b"42", "t2": None}


def test_a_large_result_is_delivered_when_it_is_complete() -> None:
    """Finished counts when its last part has come, and carries the whole result."""
    bench = Bench()
    bench.say(finished(body_size=5), m.Part("t1", b"abc"))
    assert bench.handler.told == []
    bench.say(finished("t2"), m.Part("t1", b"de", last=True))
    assert bench.handler.told == [
        ("finished", "t2", "succeeded"),
        ("finished", "t1", "succeeded"),
    ]
    assert bench.handler.results["t1"] == b"abcde"


def test_a_second_finished_takes_the_place_of_an_incomplete_one() -> None:
    """A result that is broken off by the worker ends with the message that replaces it."""
    bench = Bench()
    bench.say(finished(body_size=5), m.Part("t1", b"abc"), finished(status="cancelled"))
    assert bench.handler.told == [("finished", "t1", "cancelled")]
    bench.say(m.Part("t1", b"de", last=True))
    assert bench.handler.names()[-1] == "broken"


def test_a_large_piece_is_delivered_whole() -> None:
    """A piece that came in several chunks is one piece."""
    bench = Bench()
    bench.say(m.Chunk("t1", 1, "text", b"ab", more=True), m.Chunk("t2", 1, "text", b"x"))
    bench.say(m.Chunk("t1", 1, "text", b"cd", more=True), m.Chunk("t1", 1, "text", b"e"))
    bench.say(m.Chunk("t1", 2, "text", b"f"))
    assert bench.handler.told == [
        ("chunk", "t2", 1, b"x"),
        ("chunk", "t1", 1, b"abcde"),
        ("chunk", "t1", 2, b"f"),
    ]


def test_a_piece_that_is_broken_off_is_replaced_by_the_next() -> None:
    """Half a piece is not delivered together with another one."""
    bench = Bench()
    bench.say(m.Chunk("t1", 1, "text", b"ab", more=True), m.Chunk("t1", 2, "text", b"cd"))
    assert bench.handler.told == [("chunk", "t1", 2, b"cd")]
    bench.say(m.Chunk("t1", 3, "text", b"ab", more=True), finished())
    assert bench.handler.names() == ["chunk", "finished"]


def test_everything_is_delivered_in_wire_order() -> None:
    """The handler is told in the order in which the worker spoke."""
    bench = Bench()
    bench.dispatch()
    bench.say(
        m.Chunk("t1", 1, "json", b"1"),
        finished(),
        m.Refused("t2", "no_slot", "full", slots(0, seen=1)),
        m.Facts(b"{}", b"[]"),
        m.Event("t1", "row", b"[]"),
        m.Report(1, 4, 4, 0),
    )
    assert bench.handler.told == [
        ("chunk", "t1", 1, b"1"),
        ("finished", "t1", "succeeded"),
        ("refused", "t2", "no_slot", 1),
        ("facts", b"{}", b"[]"),
        ("event", "t1", "row", b"[]"),
        ("reported", 1, 4),
    ]


def test_a_stale_report_is_delivered_with_what_it_had_seen() -> None:
    """Whether a report frees a slot is the ledger's to say, by the number."""
    bench = Bench()
    for n in range(3):
        bench.dispatch(f"t{n}")
    bench.say(m.Report(1, 4, 4, 0), m.Report(3, 1, 4, 3))
    assert bench.handler.told == [("reported", 1, 4), ("reported", 3, 1)]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (m.Report(1, 4, 4, 0), "does not add up"),  # has seen what was never sent
        (m.Report(-1, 4, 4, 0), "does not add up"),
        (m.Report(0, -1, 4, 0), "does not add up"),
        (m.Report(0, 0, -4, 0), "does not add up"),
        (m.Report(0, 0, 4, -1), "does not add up"),
        (m.Report(0, 0, 4, 0, -1), "does not add up"),
        (m.Report(0, 0, 4, 0, 0, -1), "does not add up"),
        (m.Refused("t1", "no_slot", "", m.Report(7, 0, 4, 4)), "does not add up"),
        (finished(status="running"), "status 'running'"),
        (finished(duration=float("nan")), "after nan s"),
        (finished(duration=-1.0), "after -1.0 s"),
        (finished(duration=float("inf")), "after inf s"),
        (finished(body_size=-1), "-1 bytes announced"),
        (finished(body_size=MAX_BODY + 1), f"{MAX_BODY + 1} bytes announced"),
        (m.Part("t1", b"x", last=True), "Part without its Finished"),
        (m.Chunk("t1", 0, "text", b""), "Chunk 0"),
        (m.Chunk("t1", 1, "smell", b""), "kind 'smell'"),
        (m.Chunk("t1", 1, "text", b"", more=True), "empty part"),
        (welcome_message(), "second Welcome"),
        (m.Hello(1, 1, "b", "boot"), "wrong side"),
        (m.Ack(["t1"]), "wrong side"),
    ],
)
def test_what_no_worker_of_ours_sends_closes_the_link(message: m.Message, problem: str) -> None:
    """A broken rule ends the link with a Goodbye that says which, and is never half believed."""
    bench = Bench()
    bench.say(message, finished("t9"))
    ((name, code, text),) = bench.handler.told
    assert (name, code) == ("broken", "protocol_error")
    assert problem in str(text)
    assert bench.wire.closing == ("protocol_error", text)
    assert bench.sent() == [m.Goodbye("protocol_error", str(text))]


@pytest.mark.parametrize(
    "messages",
    [
        [m.Part("t1", b"abc"), m.Part("t1", b"def", last=True)],
        [m.Part("t1", b"abc", last=True)],
        [m.Chunk("t1", 1, "text", b"x")],
    ],
)
def test_a_result_whose_parts_do_not_add_up_closes_the_link(messages: list[m.Message]) -> None:
    """A result is delivered as announced or not at all."""
    bench = Bench()
    bench.say(finished(body_size=5), *messages)
    assert bench.handler.names() == ["broken"]


@pytest.mark.parametrize(
    "message",
    [m.Report(0, 4, 4, 0), m.Ping(1), m.Unsupported(3), m.Finished("t", "id", "succeeded")],
)
def test_nothing_comes_before_the_welcome(message: m.Message) -> None:
    """A peer that does not introduce itself is not listened to."""
    bench = Bench(up=False)
    bench.say(message, welcome_message())
    assert bench.handler.names() == ["broken"]
    assert bench.wire.closing is not None


def test_an_unknown_kind_before_the_welcome_closes_the_link() -> None:
    """Tolerance begins when a version is agreed on."""
    bench = Bench(up=False)
    bench.link.receive(msgspec.msgpack.encode([[99, 1]]), 100.0)
    assert bench.handler.told == [("broken", "protocol_error", "UnknownKind before Welcome")]


@pytest.mark.parametrize("version", [0, 2])
def test_a_version_that_is_not_spoken_closes_the_link(version: int) -> None:
    """A worker that chooses what was not offered is told so."""
    bench = Bench(up=False)
    bench.say(msgspec.structs.replace(welcome_message(), version=version))
    assert bench.handler.told[0][:2] == ("broken", "version")
    goodbye = bench.sent()[-1]
    assert isinstance(goodbye, m.Goodbye)
    assert goodbye.code == "version"


def test_a_welcome_with_an_impossible_report_closes_the_link() -> None:
    """The first report is checked like every other."""
    bench = Bench(up=False)
    bench.say(welcome_message(m.Report(1, 4, 4, 0)))
    assert bench.handler.names() == ["broken"]


def test_unknown_kinds_are_answered_once_each() -> None:
    """A newer worker learns what is not understood here, and its other messages count."""
    bench = Bench()
    frame = msgspec.msgpack.encode([[99, 1], [37, "t1", "id-t1", "succeeded"], [99, 2], [98]])
    bench.link.receive(frame, 100.0)
    bench.link.receive(frame, 100.0)
    assert bench.sent() == [m.Unsupported(99), m.Unsupported(98)]
    assert bench.handler.names() == ["finished", "finished"]


def test_endless_new_kinds_close_the_link() -> None:
    """A peer cannot make us answer for ever."""
    bench = Bench()
    kinds = [[1000 + n] for n in range(MAX_UNKNOWN_KINDS + 1)]
    bench.link.receive(msgspec.msgpack.encode(kinds[:-1]), 100.0)
    assert bench.link.up
    bench.link.receive(msgspec.msgpack.encode(kinds[-1:]), 100.0)
    assert bench.handler.names() == ["broken"]


def test_answers_that_nobody_reads_close_the_link() -> None:
    """A peer that makes us queue and does not read is left, before memory is."""
    bench = Bench()
    for n in range(MAX_BACKLOG + 1):
        bench.link.ack(f"t{n}")
    assert bench.link.up
    bench.say(m.Ping(1))
    assert bench.handler.names() == ["broken"]
    assert [type(each) for each in bench.sent()] == [m.Goodbye]


def test_what_the_peer_is_quoted_with_is_short() -> None:
    """A megabyte in a wrong field does not come back as a megabyte."""
    bench = Bench()
    bench.say(finished(status="x" * (MAX_FRAME // 2)))
    (goodbye,) = bench.sent()
    assert isinstance(goodbye, m.Goodbye)
    assert len(goodbye.message) == 500
