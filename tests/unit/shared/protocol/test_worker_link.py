"""The worker's machine, case by case, against a balancer that says what the test wants."""

from __future__ import annotations

import msgspec
import pytest

from shared.errors import failure
from shared.protocol import messages as m
from shared.protocol.limits import FRAME_BYTES, MAX_AWAITED, MAX_BODY, MAX_TEXT, PART_BYTES
from shared.protocol.link import SMALL
from shared.protocol.worker_link import WorkerLink
from tests.unit.shared.protocol.recorders import RecordingWorker, slots, welcome_message
from tests.unit.shared.protocol.worker_bench import HELLO, Bench, dispatch, ending


def test_hello_is_answered_with_welcome() -> None:
    """The worker introduces itself, in the version that was agreed on."""
    bench = Bench(up=False)
    bench.say(msgspec.structs.replace(HELLO, version=7))
    assert bench.handler.told == [("hello", "b", "boot")]
    assert bench.sent() == [welcome_message()]
    assert bench.link.up


def test_nothing_is_said_before_hello() -> None:
    """Intents before the link is up do nothing."""
    bench = Bench(up=False)
    bench.link.finished(ending())
    bench.link.refused("t1", "no_slot", "")
    bench.link.facts(b"{}")
    bench.link.touch()
    assert bench.link.chunk("t1", 1, "text", b"x")
    assert bench.link.event("t1", "row", b"1")
    bench.wire.awake = True
    assert bench.sent() == []
    assert bench.handler.reports == 0


def test_results_offered_while_hello_is_answered_follow_the_welcome() -> None:
    """A worker offers what it holds at once, and the Welcome is still first."""
    bench = Bench(up=False)
    link = bench.link

    class Holder(RecordingWorker):
        """Offers a small and a large result from within `hello`."""

        def hello(self, hello: m.Hello) -> m.Welcome | m.Goodbye | None:
            link.finished(ending("t1"), b"1")
            link.finished(ending("t2"), bytes(PART_BYTES + 1))
            return super().hello(hello)

    link = WorkerLink(Holder(), bench.wire)
    bench.link = link
    bench.say(HELLO)
    sent = bench.sent()
    assert [type(each) for each in sent] == [m.Welcome, m.Finished, m.Finished, m.Part, m.Part]


@pytest.mark.parametrize(
    ("answer", "code"),
    [(None, "refused"), (m.Goodbye("shutting_down", "later"), "shutting_down")],
)
def test_a_balancer_can_be_refused(answer: m.Goodbye | None, code: str) -> None:
    """A worker that does not take a balancer says Goodbye and closes."""
    bench = Bench(up=False)
    bench.handler.answer = answer
    bench.say(HELLO, dispatch())
    (goodbye,) = bench.sent()
    assert isinstance(goodbye, m.Goodbye)
    assert goodbye.code == code
    assert bench.handler.names() == ["hello", "broken"]
    assert bench.wire.closing == (code, goodbye.message)


def test_without_a_common_version_the_link_closes() -> None:
    """The Goodbye says, for a person, what either side speaks."""
    bench = Bench(up=False)
    bench.say(m.Hello(9, 8, "b", "boot"))
    (goodbye,) = bench.sent()
    assert goodbye == m.Goodbye(
        "version", "no common protocol version: the balancer speaks 8 to 9, this worker 1"
    )
    assert bench.handler.names() == ["broken"]


def test_a_small_dispatch_runs_at_once() -> None:
    """The slot is reserved and the attempt begun in the same call."""
    bench = Bench()
    bench.say(dispatch(1), dispatch(2, metadata=b"7"))
    assert bench.handler.names() == ["reserve", "dispatch", "reserve", "dispatch"]
    assert bench.handler.inputs == {"t1": (b"{}", None), "t2": (b"{}", b"7")}
    assert bench.link.seen == 2


def test_a_report_follows_a_dispatch_though_nothing_else_has_changed() -> None:
    """The balancer learns that the dispatch was read, and so that its slot is free again."""
    bench = Bench()
    bench.say(dispatch(1), dispatch(2))
    assert bench.sent() == [m.Report(2, 4, 4, 0)]


def test_a_dispatch_that_takes_its_slot_is_worth_no_frame() -> None:
    """The balancer has counted that slot itself; the slot that is free again is told at once."""
    bench = Bench()
    bench.handler.slots = slots(3)
    bench.say(dispatch(1))
    assert bench.sent() == []
    bench.handler.slots = slots(4)
    bench.link.touch()
    assert bench.sent() == [m.Report(1, 4, 4, 0)]


@pytest.mark.parametrize(
    "told",
    [
        m.Report(1, 2, 4, 2),  # another's task has taken one more
        m.Report(1, 3, 5, 2),
        m.Report(1, 3, 4, 1, maintenance=True),
    ],
)
def test_what_the_balancer_must_know_is_told_at_once(told: m.Report) -> None:
    """A slot that is gone, another limit and maintenance change what may be dispatched."""
    bench = Bench()
    bench.handler.slots = told
    bench.say(dispatch(1))
    assert bench.sent() == [told]


def test_what_can_wait_is_told_with_another_message_or_when_it_is_asked_for() -> None:
    """Nothing stays untold for longer than the owner's tick, and nothing is told twice."""
    bench = Bench()
    bench.handler.slots = slots(3)
    bench.say(dispatch(1), m.Ping(7))
    assert bench.sent() == [m.Pong(7), m.Report(1, 3, 4, 1)]
    bench.handler.slots = slots(2)
    bench.say(dispatch(2))
    assert bench.sent() == []
    bench.link.tell_rest()
    assert bench.sent() == [m.Report(2, 2, 4, 2)]
    bench.link.tell_rest()
    assert not bench.wire.awake


def test_a_frame_has_one_report_and_it_is_last() -> None:
    """The report is cut when its frame is, after what it accounts for."""
    bench = Bench()
    bench.say(dispatch(1), m.Ping(5))
    bench.handler.slots = slots(3)
    bench.link.finished(ending(), b"1")
    bench.link.facts(b"{}")
    bench.handler.slots = slots(4)
    (frame,) = bench.frames()
    assert frame == [ending(result=b"1"), m.Pong(5), m.Facts(b"{}"), m.Report(1, 4, 4, 0)]


def test_a_report_that_says_nothing_new_is_not_sent() -> None:
    """The Welcome's report counts as told, and so does that of a refusal."""
    bench = Bench()
    bench.link.touch()
    assert bench.sent() == []
    bench.handler.slots = slots(2)
    bench.link.touch()
    assert bench.sent() == [m.Report(0, 2, 4, 2)]
    bench.handler.refusal = "no_slot"
    bench.say(dispatch(1))
    assert [type(each) for each in bench.sent()] == [m.Refused]


def test_a_report_waits_for_the_results_it_accounts_for() -> None:
    """When results fill several frames, the report is in the last of them."""
    bench = Bench()
    bench.handler.slots = slots(1)
    for n in range(3 * FRAME_BYTES // PART_BYTES):
        bench.link.finished(ending(f"t{n}"), bytes(PART_BYTES))
    frames = bench.frames()
    assert len(frames) > 2
    assert [frame for frame in frames[:-1] if isinstance(frame[-1], m.Report)] == []
    assert frames[-1][-1] == m.Report(0, 1, 4, 3)


@pytest.mark.parametrize(
    ("refusal", "code", "message"),
    [
        ("no_slot", "no_slot", "Worker has no free slot"),
        (
            failure("function_not_found", "Function 'x' not found"),
            "function_not_found",
            "Function 'x' not found",
        ),
    ],
)
def test_a_dispatch_without_a_slot_is_refused_with_a_report(
    refusal: str, code: str, message: str
) -> None:
    """The report of a refusal has seen the dispatch that it refuses."""
    bench = Bench()
    bench.handler.refusal = refusal
    bench.handler.slots = slots(0)
    bench.say(dispatch(1))
    assert bench.handler.names() == ["reserve"]
    assert bench.sent() == [m.Refused("t1", code, message, m.Report(1, 0, 4, 4))]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mode": "telepathy"}, "invalid_mode"),
        ({"input": None, "body_size": MAX_BODY + 1}, "body_too_large"),
    ],
)
def test_what_cannot_run_is_refused_before_a_slot_is_asked_for(
    change: dict[str, object], code: str
) -> None:
    """A refusal of the link itself takes no slot."""
    bench = Bench()
    bench.say(msgspec.structs.replace(dispatch(1), **change))
    (refused,) = bench.sent()
    assert isinstance(refused, m.Refused)
    assert refused.code == code
    assert bench.handler.told == []


def test_the_number_of_awaited_bodies_is_bounded() -> None:
    """A balancer cannot reserve without end."""
    bench = Bench()
    large = [dispatch(n, input=None, body_size=9) for n in range(1, MAX_AWAITED + 2)]
    for start in range(0, len(large), 1000):
        bench.say(*large[start : start + 1000])
    refused = [each for each in bench.sent() if isinstance(each, m.Refused)]
    assert [(each.token, each.code) for each in refused] == [(large[-1].token, "no_slot")]


def test_a_large_input_is_accepted_and_runs_when_it_is_complete() -> None:
    """The slot is taken at once; the attempt begins with the last part, metadata cut off."""
    bench = Bench()
    bench.say(dispatch(1, input=None, body_size=8, metadata_size=3), m.Body("t1", b"{in}"))
    assert bench.handler.names() == ["reserve"]
    assert bench.sent() == [m.Accepted("t1"), m.Report(1, 4, 4, 0)]
    bench.say(m.Body("t1", b"}123", last=True))
    assert bench.handler.names() == ["reserve", "dispatch"]
    assert bench.handler.inputs == {"t1": (b"{in}}", b"123")}


def test_a_cancel_frees_the_slot_of_a_body_on_its_way() -> None:
    """The handler is told, and the parts that were on their way are ignored."""
    bench = Bench()
    bench.say(dispatch(1, input=None, body_size=8), m.Body("t1", b"abcd"))
    bench.say(m.Cancel("t1", "timeout"), m.Body("t1", b"efgh", last=True))
    assert bench.handler.told == [("reserve", "t1"), ("cancel", "t1", "timeout")]
    assert bench.link.up


@pytest.mark.parametrize("how", ["closed", "goodbye from there", "goodbye from here", "fault"])
def test_the_end_of_the_link_frees_the_slots_of_bodies_on_their_way(how: str) -> None:
    """An attempt whose input cannot arrive any more never began."""
    bench = Bench()
    bench.say(dispatch(1, input=None, body_size=8), m.Body("t1", b"abcd"), dispatch(2))
    if how == "closed":
        bench.link.closed(101.0)
    elif how == "goodbye from here":
        bench.link.goodbye("shutting_down")
    else:
        bench.say(m.Goodbye("bye") if how == "goodbye from there" else HELLO)
    assert ("cancel", "t1", "link_lost") in bench.handler.told
    assert "t2" not in [each[1] for each in bench.handler.told if each[0] == "cancel"]


def test_a_dispatch_that_was_read_is_not_run_again() -> None:
    """A number that was seen is a repetition."""
    bench = Bench()
    bench.say(dispatch(1), dispatch(2))
    bench.say(dispatch(1), dispatch(2), dispatch(3))
    assert [each[1] for each in bench.handler.told if each[0] == "dispatch"] == ["t1", "t2", "t3"]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (dispatch(2), "dispatch 2 (t2) after 0"),  # 1 was lost on the way
        (dispatch(1, input=None), "no input, or two"),
        (dispatch(1, input=None, body_size=-1), "no input, or two"),
        (dispatch(1, body_size=5), "no input, or two"),
        (dispatch(1, metadata_size=1), "do not add up"),
        (dispatch(1, input=None, body_size=5, metadata_size=6), "do not add up"),
        (dispatch(1, metadata_size=-1), "do not add up"),
        (dispatch(1, credit=-1), "do not add up"),
        (dispatch(1, timeout=float("nan")), "impossible times"),
        (dispatch(1, timeout=-1.0), "impossible times"),
        (dispatch(1, timeout=float("inf")), "impossible times"),
        (dispatch(1, remaining=float("-inf")), "impossible times"),
        (dispatch(1, priority=float("inf")), "priority inf"),
        (dispatch(1, priority=-1.0), "priority -1.0"),
        (dispatch(1, remaining=float("inf")), "impossible times"),
        (dispatch(1, remaining=float("nan")), "impossible times"),
        (dispatch(1, priority=float("nan")), "priority nan"),
        (m.Credit("t1", -1), "credit of -1"),
        (m.Demand(-1, 1.0), "demand of -1"),
        (m.Demand(1, float("nan")), "priority nan"),
        (m.Demand(1, -1.0), "priority -1.0"),
        (HELLO, "second Hello"),
        (welcome_message(), "wrong side"),
        (ending(), "wrong side"),
    ],
)
def test_what_no_balancer_of_ours_sends_closes_the_link(message: m.Message, problem: str) -> None:
    """A broken rule ends the link with a Goodbye that says which, and is never half believed."""
    bench = Bench()
    bench.say(message, m.Ack(["t9"]))
    ((name, code, text),) = bench.handler.told
    assert (name, code) == ("broken", "protocol_error")
    assert problem in str(text)
    assert bench.sent() == [m.Goodbye("protocol_error", str(text))]


@pytest.mark.parametrize(
    "message",
    [
        dispatch(1, timeout=0.0),
        dispatch(1, remaining=-5.0),  # its deadline has passed on the way
        dispatch(1, remaining=0.0),
        dispatch(1, priority=0.0),
        dispatch(1, credit=0),
        dispatch(1, input=None, body_size=5, metadata_size=5),
        dispatch(1, input=None, body_size=1, metadata_size=0),
        dispatch(1, input=None, body_size=MAX_BODY),
        m.Credit("t1", 0),
        m.Demand(0, 0.0),
    ],
)
def test_the_edges_of_what_is_allowed_are_taken(message: m.Message) -> None:
    """The first and last value of each range is a good one."""
    bench = Bench()
    bench.say(message)
    assert bench.link.up
    assert bench.handler.names()[0] in {"reserve", "credit", "demand"}


def test_a_token_cannot_be_dispatched_twice_while_its_body_comes() -> None:
    """Two bodies under one token could not be told apart."""
    bench = Bench()
    bench.say(dispatch(1, "t", input=None, body_size=8), dispatch(2, "t", input=None, body_size=8))
    assert bench.handler.names() == ["reserve", "cancel", "broken"]


def test_a_body_that_does_not_add_up_closes_the_link() -> None:
    """An input is run as announced or not at all."""
    bench = Bench()
    bench.say(dispatch(1, input=None, body_size=8), m.Body("t1", b"abcdefghi", last=True))
    assert bench.handler.names() == ["reserve", "cancel", "broken"]


@pytest.mark.parametrize("window", [float("nan"), float("inf"), -1.0, 1e9])
def test_an_impossible_resume_window_closes_the_link(window: float) -> None:
    """The worker could not tell when a balancer has been away for too long."""
    bench = Bench(up=False)
    bench.say(msgspec.structs.replace(HELLO, resume_window=window))
    assert bench.handler.names() == ["broken"]


@pytest.mark.parametrize("message", [m.Ping(1), m.Ack(["t"]), dispatch(1), m.Unsupported(3)])
def test_nothing_comes_before_hello(message: m.Message) -> None:
    """A peer that does not introduce itself is not listened to."""
    bench = Bench(up=False)
    bench.say(message, HELLO)
    assert bench.handler.names() == ["broken"]


def test_other_messages_are_told_in_wire_order() -> None:
    """The handler is told in the order in which the balancer spoke."""
    bench = Bench()
    bench.say(m.Credit("t1", 5), m.Demand(3, 2.0), m.Maintenance(on=True), m.Ack(["a", "b"]))
    bench.say(m.Demand(0, float("inf")), m.Cancel("t1"))
    assert bench.handler.told == [
        ("credit", "t1", 5),
        ("demand", 3, 2.0),
        ("maintenance", True),
        ("acked", "a", "b"),
        ("demand", 0, float("inf")),
        ("cancel", "t1", "cancelled"),
    ]


def test_a_large_result_follows_its_announcement_in_parts() -> None:
    """The message says how much comes, the parts bring it, and the caller's message is untouched."""
    bench = Bench()
    message, result = ending(), bytes(PART_BYTES + 1)
    bench.link.finished(message, result)
    assert bench.sent() == [
        ending(body_size=len(result)),
        m.Part("t1", bytes(PART_BYTES)),
        m.Part("t1", b"\0", last=True),
    ]
    assert message == ending()


def test_a_result_that_no_link_carries_becomes_a_failure() -> None:
    """The caller learns how large it was and what is allowed."""
    bench = Bench()
    bench.link.finished(ending(duration=2.0), bytes(MAX_BODY + 1))
    (sent,) = bench.sent()
    assert isinstance(sent, m.Finished)
    assert (sent.status, sent.code, sent.result, sent.duration) == (
        "failed",
        "result_too_large",
        None,
        2.0,
    )
    assert str(MAX_BODY + 1) in sent.message


def test_texts_are_cut_to_what_a_frame_carries() -> None:
    """A function that raises a book does not stop the link."""
    bench = Bench()
    book = "x" * (20 * MAX_TEXT)
    bench.link.finished(ending(status="failed", message=book, details=bytes(PART_BYTES + 1)))
    bench.link.refused("t2", "no_slot", book)
    finished, refused = bench.sent()
    assert finished == ending(status="failed", message=book[:MAX_TEXT])
    assert isinstance(refused, m.Refused)
    assert refused.message == book[:MAX_TEXT]


def test_messages_of_one_token_keep_their_order_behind_a_large_piece() -> None:
    """No chunk, event or end overtakes a piece that travels in parts; another token's do."""
    bench = Bench()
    assert bench.link.chunk("t1", 1, "bytes", bytes(PART_BYTES + 1))
    assert bench.link.chunk("t1", 2, "bytes", b"2")
    assert bench.link.event("t1", "row", b"3")
    bench.link.finished(ending())
    bench.link.finished(ending("t2"))
    assert bench.sent() == [
        ending("t2"),
        m.Chunk("t1", 1, "bytes", bytes(PART_BYTES), more=True),
        m.Chunk("t1", 1, "bytes", b"\0"),
        m.Chunk("t1", 2, "bytes", b"2"),
        m.Event("t1", "row", b"3"),
        ending(),
    ]


def test_what_cannot_be_sent_at_all_is_told_to_the_caller() -> None:
    """A piece beyond MAX_BODY and an event beyond a part are not sent."""
    bench = Bench()
    assert not bench.link.chunk("t1", 1, "bytes", bytes(MAX_BODY + 1))
    assert not bench.link.event("t1", "row", bytes(PART_BYTES + 1))
    assert bench.sent() == []


def test_the_largest_that_can_be_sent_is_sent() -> None:
    """A piece or a result of MAX_BODY, and an event or details that fill a part, still travel."""
    bench = Bench()
    assert bench.link.chunk("t1", 1, "bytes", bytes(MAX_BODY))
    assert bench.link.event("t2", "row", bytes(PART_BYTES - 3))
    bench.link.finished(ending("t3", "failed", details=bytes(PART_BYTES)))
    bench.link.finished(ending("t4"), bytes(MAX_BODY))
    sent = bench.sent()
    assert sum(isinstance(each, m.Event) for each in sent) == 1
    assert {(each.status, len(each.details or b"")) for each in sent if isinstance(each, m.Finished)} == {
        ("failed", PART_BYTES), ("succeeded", 0),
    }  # fmt: skip
    assert [each.more for each in sent if isinstance(each, m.Chunk)].count(False) == 1


@pytest.mark.parametrize("name", ["row", "r"])
def test_the_name_of_an_event_counts_too(name: str) -> None:
    """One byte more than a part is too much, wherever it is."""
    bench = Bench()
    assert not bench.link.event("t1", name, bytes(PART_BYTES - len(name) + 1))


def test_what_waits_to_be_sent_is_counted_with_its_data() -> None:
    """Who produces more than is read can see it: pieces, events, results, texts and details count."""
    link = Bench().link
    link.chunk("t1", 1, "text", bytes(10))
    link.event("t1", "row", bytes(20))
    link.finished(ending("t1", message="m" * 30, details=bytes(40)), bytes(50))
    assert link.buffered == 3 * SMALL + 150


def test_the_last_facts_of_a_frame_count() -> None:
    """Facts that are out of date are not sent; a changed list of functions is not forgotten."""
    bench = Bench()
    bench.link.facts(b"1", b"[1]")
    bench.link.facts(b"2")
    assert bench.sent() == [m.Facts(b"2", b"[1]")]
    assert bench.sent() == []
