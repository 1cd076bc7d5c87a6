"""Large bodies: cut into parts that take turns, and put together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.bodies import Assembly, BodyTurns, Large, Whole
from shared.protocol.limits import (
    MAX_BODIES,
    MAX_BODIES_BYTES,
    MAX_BODY,
    MAX_HALVES_BYTES,
    PART_BYTES,
)
from shared.protocol.messages import Body, Cancel, Message, Ping


def large(token: str, size: int, mark: bytes = b"x", head: Message | None = None) -> Large:
    """Return a body of the parts of one token."""
    return Large(
        mark * size, lambda data, last: Body(token, data, last), head=head, stop=Cancel(token)
    )


def parts_of(turns: BodyTurns, limit: int = 10_000) -> list[Body]:
    """Return all parts that are left, in the order of the frames."""
    found: list[Body] = []
    for _ in range(limit):
        turn = turns.turn()
        if turn is None:
            return found
        found += [each for each in turn.messages if isinstance(each, Body)]
        if turn.next is not None:
            turns.park(turn.next, 0)
    raise AssertionError("there is always another part")


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (1, [1]),
        (PART_BYTES, [PART_BYTES]),
        (PART_BYTES + 1, [PART_BYTES, 1]),
        (2 * PART_BYTES, [PART_BYTES, PART_BYTES]),
        (2 * PART_BYTES + 7, [PART_BYTES, PART_BYTES, 7]),
    ],
)
def test_a_body_is_cut_into_parts_and_the_last_says_so(size: int, sizes: list[int]) -> None:
    """No part is larger than it may be, none is empty, and one is the last."""
    turns = BodyTurns()
    turns.add("a", large("a", size))
    assert turns.size == size
    parts = parts_of(turns)
    assert [len(part.data) for part in parts] == sizes
    assert [part.last for part in parts] == [False] * (len(sizes) - 1) + [True]
    assert (turns.size, len(turns)) == (0, 0)


def test_bodies_take_turns() -> None:
    """A short body does not wait for the end of a long one."""
    turns = BodyTurns()
    turns.add("a", large("a", 4 * PART_BYTES))
    turns.add("b", large("b", 2 * PART_BYTES))
    assert [part.token for part in parts_of(turns)] == ["a", "b", "a", "b", "a", "a"]


def test_a_head_comes_with_the_first_part() -> None:
    """The message that announces a body is not sent before the body has its turn."""
    turns = BodyTurns()
    turns.add("a", large("a", PART_BYTES + 1, head=Ping(1)))
    first, second = turns.turn(), turns.turn()
    assert first is not None
    assert second is not None
    assert [type(each) for each in first.messages] == [Ping, Body]
    assert [type(each) for each in second.messages] == [Body]


def test_what_follows_a_body_waits_for_its_end() -> None:
    """Small messages and further bodies of a token keep their order behind the first body."""
    turns = BodyTurns()
    turns.add("a", large("a", PART_BYTES + 1, b"1"))
    turns.follow("a", Ping(1), 10)
    turns.add("a", large("a", 5, b"2"))
    turns.follow("a", Ping(2), 10)
    seen = [turns.turn() for _ in range(2)]
    assert seen[0] is not None
    assert seen[1] is not None
    assert (seen[0].followers, seen[0].next) == ([], None)
    assert ([each.message for each in seen[1].followers], seen[1].next) == ([Ping(1)], "a")
    assert "a" in turns
    turns.park("a", 0)
    last = turns.turn()
    assert last is not None
    assert [each.message for each in last.followers] == [Ping(2)]
    assert ("a" in turns, turns.size) == (False, 0)


def test_a_body_waits_for_the_frame_that_brings_what_was_before_it() -> None:
    """Nothing that was queued before a body is overtaken by it."""
    turns = BodyTurns()
    turns.add("a", large("a", 1), not_before=3)
    assert turns.turn(2) is None
    assert turns.turn(3) is not None


def test_no_more_bodies_are_on_their_way_than_a_reader_has_room_for() -> None:
    """Bodies beyond the count wait until another one has ended, first come, first served."""
    turns = BodyTurns()
    tokens = [f"t{n}" for n in range(MAX_BODIES + 1)]
    for token in tokens:
        turns.add(token, large(token, PART_BYTES + 1))
    order = [part.token for part in parts_of(turns)]
    assert order[:MAX_BODIES] == tokens[:MAX_BODIES]
    assert order.index(tokens[-1]) > order.index(tokens[0], 1)


def test_no_more_bytes_are_on_their_way_than_a_reader_has_room_for() -> None:
    """A giant waits while others fill the room, and starts when there is enough."""
    turns = BodyTurns()
    giants = MAX_BODIES_BYTES // MAX_BODY
    data = bytes(MAX_BODY)
    for n in range(giants + 1):
        turns.add(str(n), Large(data, lambda part, last, n=n: Body(str(n), part, last)))
    early = [turns.turn() for _ in range(giants * 2)]
    tokens = {
        each.token for turn in early if turn for each in turn.messages if isinstance(each, Body)
    }
    assert tokens == {str(n) for n in range(giants)}
    turns.drop("0")
    later = [turns.turn() for _ in range(giants)]
    tokens = {
        each.token for turn in later if turn for each in turn.messages if isinstance(each, Body)
    }
    assert tokens == {str(n) for n in range(1, giants + 1)}


def test_a_body_that_has_ended_gives_its_room_back() -> None:
    """However much has been sent, the next body starts."""
    turns = BodyTurns()
    data = bytes(MAX_BODY)
    for n in range(2 * MAX_BODIES_BYTES // MAX_BODY + 1):
        turns.add(str(n), Large(data, lambda part, last, n=n: Body(str(n), part, last)))
    ended = [part.token for part in parts_of(turns) if part.last]
    assert len(ended) == 2 * MAX_BODIES_BYTES // MAX_BODY + 1


@pytest.mark.parametrize("begun", [False, True])
def test_a_dropped_body_leaves_nothing(begun: bool) -> None:
    """What is dropped is not sent; the reader of a begun body is owed a stop."""
    turns = BodyTurns()
    turns.add("a", large("a", 2 * PART_BYTES, head=Ping(1)))
    turns.follow("a", Ping(2), 10)
    turns.add("a", large("a", 9, head=Ping(3)))
    turns.add("b", large("b", 1))
    if begun:
        assert turns.turn() is not None
    dropped = turns.drop("a")
    assert dropped is not None
    assert dropped.stop == (Cancel("a") if begun else None)
    assert dropped.unsent == [Ping(1), Ping(2), Ping(3)]
    assert (turns.size, "a" in turns) == (1, False)
    assert [part.token for part in parts_of(turns)] == ["b"]
    assert turns.drop("a") is None


def test_parts_become_the_body_again() -> None:
    """The reader gets the announcing message and every byte."""
    halves: Assembly[str] = Assembly(2)
    assert halves.begin("a", "head", 5) == ""
    assert halves.add("a", b"ab", last=False) == ""
    assert ("a" in halves, len(halves), halves.size) == (True, 1, 2)
    assert halves.announced_by("a") == "head"
    assert halves.add("a", b"cde", last=True) == Whole("head", b"abcde")
    assert ("a" in halves, len(halves), halves.size) == (False, 0, 0)
    assert halves.announced_by("a") is None


def test_a_body_of_unknown_size_ends_with_its_last_part() -> None:
    """A piece of a stream tells its size by its end; an empty end breaks it off."""
    halves: Assembly[str] = Assembly(2)
    assert halves.begin("a", "piece") == ""
    assert halves.add("a", b"ab", last=False) == ""
    assert halves.add("a", b"", last=True) == Whole("piece", b"ab")


@pytest.mark.parametrize("size", [0, -1, MAX_BODY + 1])
def test_impossible_sizes_are_refused(size: int) -> None:
    """Nothing larger than the bound, and nothing empty, is announced."""
    halves: Assembly[str] = Assembly(2)
    assert "are allowed" in halves.begin("a", "head", size)
    assert len(halves) == 0


def test_the_number_of_halves_is_bounded() -> None:
    """A peer cannot begin bodies without end; beginning one again takes no second place."""
    halves: Assembly[str] = Assembly(2)
    assert [halves.begin(token, "head", 5) for token in ("a", "b", "a")] == ["", "", ""]
    assert halves.begin("c", "head", 5) == "more than 2 bodies at once"


@pytest.mark.parametrize(
    ("size", "parts", "problem"),
    [
        (3, [(b"abcd", False)], "larger than its 3 bytes"),
        (3, [(b"ab", False), (b"cd", True)], "larger than its 3 bytes"),
        (3, [(b"ab", True)], "ends after 2 of its 3 bytes"),
        (3, [(b"", False)], "empty part"),
        (None, [(bytes(MAX_BODY), False), (b"x", True)], f"larger than its {MAX_BODY} bytes"),
    ],
)
def test_parts_that_do_not_add_up_are_faults(
    size: int | None, parts: list[tuple[bytes, bool]], problem: str
) -> None:
    """A body is delivered as announced or not at all."""
    halves: Assembly[str] = Assembly(2)
    halves.begin("a", "head", size)
    answers = [halves.add("a", data, last) for data, last in parts]
    assert problem in str(answers[-1])
    assert not any(isinstance(answer, Whole) for answer in answers)


def test_the_bytes_of_halves_are_bounded() -> None:
    """Many bodies that never end cannot fill the memory."""
    halves: Assembly[str] = Assembly(100)
    data, answers = bytes(MAX_BODY), list[object]()
    for n in range(MAX_HALVES_BYTES // MAX_BODY + 1):
        halves.begin(str(n), "head")
        answers.append(halves.add(str(n), data, last=False))
    assert answers[:-1] == [""] * (len(answers) - 1)
    assert answers[-1] == f"more than {MAX_HALVES_BYTES} bytes of bodies at once"


def test_dropped_halves_give_their_room_back() -> None:
    """What is dropped or cleared counts no more."""
    halves: Assembly[str] = Assembly(2)
    halves.begin("a", "one", 5)
    halves.begin("b", "two", 5)
    halves.add("a", b"abc", last=False)
    assert (halves.drop("a"), halves.drop("a"), halves.size) == (True, False, 0)
    halves.begin("a", "three", 5)
    assert halves.clear() == ["two", "three"]
    assert (len(halves), halves.size) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3 * PART_BYTES)), max_size=8))
def test_every_byte_arrives_once_and_in_order(bodies: list[tuple[str, int]]) -> None:
    """Model: whatever the sizes and tokens, each token's bodies arrive whole and in their order."""
    turns = BodyTurns()
    for n, (token, size) in enumerate(bodies):
        turns.add(token, large(token, size, bytes([n]), head=Ping(n)))
    arrived: dict[str, list[bytes]] = {}
    halves: Assembly[None] = Assembly(3)
    for part in parts_of(turns):
        if part.token not in halves:
            halves.begin(part.token, None)
        whole = halves.add(part.token, part.data, part.last)
        if isinstance(whole, Whole):
            arrived.setdefault(part.token, []).append(whole.data)
    expected: dict[str, list[bytes]] = {}
    for n, (token, size) in enumerate(bodies):
        expected.setdefault(token, []).append(bytes([n]) * size)
    assert arrived == expected
    assert (turns.size, len(turns), len(halves)) == (0, 0, 0)
