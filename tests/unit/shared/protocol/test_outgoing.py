"""The queue of what is to be sent: order, batches, bodies beside them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.bodies import Large
from shared.protocol.limits import BATCH_MESSAGES, FRAME_BYTES, PART_BYTES
from shared.protocol.messages import Body, Message, Ping
from shared.protocol.outgoing import Outgoing


def large(token: str, size: int) -> Large:
    """Return a body of the parts of one token."""
    return Large(bytes(size), lambda data, last: Body(token, data, last))


def frames_of(out: Outgoing) -> list[list[Message]]:
    """Return all frames that are left."""
    frames = list(iter(out.take, []))
    assert out.drained
    return frames


def _mark(message: Message) -> object:
    return message.n if isinstance(message, Ping) else isinstance(message, Body) and message.last


def test_messages_that_are_ready_together_leave_together() -> None:
    """One frame carries all small messages."""
    out = Outgoing()
    assert out.drained
    for n in range(3):
        out.push(Ping(n), 100)
    assert (out.size, out.count, out.drained) == (300, 3, False)
    assert frames_of(out) == [[Ping(0), Ping(1), Ping(2)]]
    assert (out.size, out.count) == (0, 0)


def test_a_frame_is_closed_when_it_has_bytes_enough() -> None:
    """What passes the target begins a new frame, and the order stays."""
    out = Outgoing()
    for n in range(5):
        out.push(Ping(n), FRAME_BYTES // 2 + 1)
    assert out.size == 5 * (FRAME_BYTES // 2 + 1)
    assert frames_of(out) == [[Ping(0), Ping(1)], [Ping(2), Ping(3)], [Ping(4)]]
    assert out.size == 0


def test_a_frame_that_is_just_full_takes_one_more() -> None:
    """It is closed by the message that passes the target, not by the one that meets it."""
    out = Outgoing()
    for n in range(4):
        out.push(Ping(n), FRAME_BYTES // 2)
    assert frames_of(out) == [[Ping(0), Ping(1), Ping(2)], [Ping(3)]]


def test_a_frame_is_closed_when_it_has_messages_enough() -> None:
    """The number of messages of a frame is bounded too."""
    out = Outgoing()
    for n in range(BATCH_MESSAGES + 1):
        out.push(Ping(n), 1)
    assert [len(frame) for frame in frames_of(out)] == [BATCH_MESSAGES, 1]


def test_a_part_travels_beside_small_messages() -> None:
    """Each frame brings at most one part; small messages do not wait for a body."""
    out = Outgoing()
    out.push_body("a", large("a", 3 * PART_BYTES))
    frames: list[list[type[Message]]] = []
    for n in range(3):
        out.push(Ping(n), 10)
        frames.append([type(message) for message in out.take()])
    assert frames == [[Ping, Body]] * 3
    assert frames_of(out) == []


def test_a_body_does_not_overtake_what_was_queued_before_it() -> None:
    """A body waits for the frame that carries the last message before it."""
    out = Outgoing()
    for n in range(3):
        out.push(Ping(n), FRAME_BYTES + 1)
    out.push(Ping(3), 10)
    out.push_body("a", large("a", 1))
    out.push(Ping(4), 10)
    kinds = [[type(message) for message in frame] for frame in frames_of(out)]
    assert kinds == [[Ping], [Ping], [Ping], [Ping, Ping, Body]]


def test_what_follows_a_body_comes_after_it() -> None:
    """A small message of the same token waits; those of others do not."""
    out = Outgoing()
    out.push_body("a", large("a", PART_BYTES + 1))
    out.push_behind("a", Ping(1), 10)
    out.push_behind("b", Ping(2), 10)
    out.push_body("a", large("a", 1))
    out.push_behind("a", Ping(3), 10)
    frames = frames_of(out)
    flat = [_mark(message) for frame in frames for message in frame]
    assert flat == [2, False, True, 1, True, 3]


def test_a_second_body_does_not_overtake_what_waited_behind_the_first() -> None:
    """Followers that fill several frames all leave before the next body of their token."""
    out = Outgoing()
    out.push_body("a", large("a", PART_BYTES + 1))
    for n in range(4):
        out.push_behind("a", Ping(n), FRAME_BYTES + 1)
    out.push_body("a", large("a", 1))
    kinds = [type(message) for frame in frames_of(out) for message in frame]
    assert kinds == [Body, Body, Ping, Ping, Ping, Ping, Body]


def test_the_front_is_before_everything() -> None:
    """A message that is put in front leaves alone and first, and moves no barrier."""
    out = Outgoing()
    out.push(Ping(1), FRAME_BYTES + 1)
    out.push(Ping(2), 10)
    out.push_body("a", large("a", 1))
    out.push_front(Ping(0))
    kinds = [[type(message) for message in frame] for frame in frames_of(out)]
    assert kinds == [[Ping], [Ping], [Ping, Body]]


def test_what_is_cleared_is_gone() -> None:
    """Nothing of a dead link is left, neither bodies nor messages."""
    out = Outgoing()
    out.push(Ping(0), FRAME_BYTES + 1)
    out.push(Ping(1), 10)
    out.push_body("a", large("a", 1))
    out.drop_bodies()
    assert (out.size, len(out.bodies)) == (FRAME_BYTES + 11, 0)
    out.clear()
    assert (out.size, out.take()) == (0, [])


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([1, PART_BYTES, 3 * PART_BYTES])),
        max_size=30,
    ),
    st.integers(0, 5),
)
def test_the_messages_of_one_token_keep_their_order(
    sizes: list[tuple[str, int]], taken_between: int
) -> None:
    """Model: per token, bodies and small messages leave in the order in which they were queued."""
    out = Outgoing()
    left: list[Message] = []
    expected: dict[str, list[int]] = {}
    for n, (token, size) in enumerate(sizes):
        expected.setdefault(token, []).append(n)
        if size == 1:
            out.push_behind(token, Body(token, n.to_bytes(4, "big"), last=True), FRAME_BYTES // 3)
        else:
            data = n.to_bytes(4, "big") * (size // 4)
            out.push_body(
                token, Large(data, lambda data, last, token=token: Body(token, data, last))
            )
        if taken_between and n % taken_between == 0:
            left += out.take()
    left += [message for frame in iter(out.take, []) for message in frame]
    ends: dict[str, list[int]] = {}
    for message in left:
        assert isinstance(message, Body)
        if message.last:
            ends.setdefault(message.token, []).append(int.from_bytes(message.data[:4], "big"))
    assert ends == expected
    assert (out.size, len(out.bodies)) == (0, 0)
