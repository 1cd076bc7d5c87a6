"""A worker breaks off what a balancer does not want any more, and the balancer is left with no half."""

from __future__ import annotations

import pytest

from shared.protocol.limits import MAX_HALVES, PART_BYTES
from shared.protocol.messages import Finished
from tests.fakes.link_pair import LinkPair
from tests.unit.shared.protocol.recorders import RecordingBalancer, RecordingWorker

LARGE = bytes(9 * PART_BYTES)


@pytest.fixture
def balancer() -> RecordingBalancer:
    """The balancer's handler."""
    return RecordingBalancer()


@pytest.fixture
def pair(balancer: RecordingBalancer) -> LinkPair:
    """A link that is up."""
    pair = LinkPair(balancer, RecordingWorker())
    pair.connect()
    balancer.told.clear()
    return pair


def cancel(pair: LinkPair, token: str) -> None:
    """Let a cancel reach the worker while the worker's socket is full."""
    pair.balancer.cancel(token)
    pair.flush_to_worker()
    assert pair.deliver_to_worker()


def parts_sent(pair: LinkPair) -> int:
    """Return how many parts the worker has sent."""
    return sum(len(frame) > PART_BYTES for frame in pair.to_balancer.sent)


@pytest.mark.parametrize("begun", [0, 2])
def test_a_cancelled_large_result_ends_as_cancelled(
    pair: LinkPair, balancer: RecordingBalancer, begun: int
) -> None:
    """The balancer gets a short ending to acknowledge, instead of a result that nobody reads."""
    pair.worker.finished(Finished("t1", "id-t1", "succeeded"), LARGE)
    pair.flush_to_balancer(frames=begun)
    cancel(pair, "t1")
    pair.settle()
    assert balancer.told == [("finished", "t1", "cancelled")]
    assert balancer.results == {"t1": None}
    assert parts_sent(pair) == begun
    assert pair.worker.buffered == 0


def test_pieces_that_are_broken_off_leave_room_for_the_next(
    pair: LinkPair, balancer: RecordingBalancer
) -> None:
    """However many are cancelled half-way, the balancer never holds too many halves."""
    tokens = [f"t{n}" for n in range(3 * MAX_HALVES)]
    for token in tokens:
        pair.worker.chunk(token, 1, "bytes", LARGE)
        pair.flush_to_balancer(frames=1)
        assert pair.deliver_to_balancer()
        cancel(pair, token)
        pair.settle()
    assert parts_sent(pair) == len(tokens)
    assert pair.balancer.up
    pair.worker.chunk("next", 1, "bytes", LARGE)
    pair.settle()
    assert balancer.told[-1] == ("chunk", "next", 1, LARGE)


def test_a_small_end_behind_a_cancelled_piece_is_sent_as_it_is(
    pair: LinkPair, balancer: RecordingBalancer
) -> None:
    """What is large, and the pieces behind it, are left out; how the attempt ended is not."""
    pair.worker.chunk("t1", 1, "bytes", LARGE)
    pair.worker.chunk("t1", 2, "bytes", b"small")
    pair.worker.finished(Finished("t1", "id-t1", "failed", code="function_error"))
    pair.flush_to_balancer(frames=1)
    cancel(pair, "t1")
    pair.settle()
    assert balancer.told == [("finished", "t1", "failed")]


def test_a_piece_that_was_not_begun_is_dropped_without_a_word(
    pair: LinkPair, balancer: RecordingBalancer
) -> None:
    """Who has no half needs no stop."""
    pair.worker.chunk("t1", 1, "bytes", LARGE)
    cancel(pair, "t1")
    pair.settle()
    assert balancer.told == []
    assert pair.to_balancer.sent[1:] == []  # the first frame was the Welcome


def test_bodies_of_both_directions_pass_each_other(
    pair: LinkPair, balancer: RecordingBalancer
) -> None:
    """A large input and a large result on one link arrive whole."""
    pair.balancer.dispatch(token="in", task_id="id", function="f", mode="sync", input=LARGE)
    pair.worker.finished(Finished("out", "id", "succeeded"), LARGE[1:])
    pair.settle()
    assert balancer.results == {"out": LARGE[1:]}
    assert pair.worker.seen == 1
    assert pair.balancer.buffered == pair.worker.buffered == 0
