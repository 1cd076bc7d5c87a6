"""The outbox: durable results wait for anybody's acknowledgement, others for their balancer only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.messages import Finished
from shared.task import Piece, PieceKind
from worker.core.outbox import ENTRY_BYTES, Entry, Outbox


def _entry(
    token: str, *, balancer: str = "b", durable: bool = True, result: bytes | None = b"{}"
) -> Entry:
    finished = Finished(token, f"task-{token}", "succeeded")
    return Entry(finished, result, balancer=balancer, durable=durable)


def _tokens(entries: list[Entry]) -> list[str]:
    return [entry.finished.token for entry in entries]


def test_a_result_is_kept_until_it_is_acknowledged() -> None:
    """Acknowledging forgets; a second time, or an unknown token, does no harm."""
    outbox = Outbox()
    outbox.put(_entry("a"))
    assert len(outbox) == 1
    assert outbox.acknowledge("a")
    assert not outbox.acknowledge("a")
    assert (len(outbox), outbox.size) == (0, 0)


def test_a_token_keeps_its_first_result() -> None:
    """Only the first decision counts, here too."""
    outbox = Outbox()
    first = _entry("a", result=b"1")
    outbox.put(first)
    outbox.put(_entry("a", result=b"22222"))
    assert outbox.select(lambda _: True) == [first]
    assert outbox.size == ENTRY_BYTES + 1


def test_results_are_offered_oldest_first() -> None:
    """What waits longest is told first."""
    outbox = Outbox()
    for token in ("c", "a", "b"):
        outbox.put(_entry(token))
    assert _tokens(outbox.select(lambda _: True)) == ["c", "a", "b"]


def test_only_the_transient_results_of_one_balancer_are_dropped() -> None:
    """Durable results stay for whoever comes; other balancers' callers still wait for theirs."""
    outbox = Outbox()
    outbox.put(_entry("durable"))
    outbox.put(_entry("sync", durable=False))
    outbox.put(_entry("other", balancer="c", durable=False))
    assert outbox.drop_transient("b") == 1
    assert _tokens(outbox.select(lambda _: True)) == ["durable", "other"]


def test_it_is_full_by_count_and_by_bytes() -> None:
    """A full outbox says so, and still takes what running attempts bring: nothing is lost."""
    by_count = Outbox(max_count=2)
    by_count.put(_entry("a"))
    assert not by_count.full
    by_count.put(_entry("b"))
    assert by_count.full
    by_count.put(_entry("c"))
    assert len(by_count) == 3
    by_bytes = Outbox(max_bytes=2 * ENTRY_BYTES)
    by_bytes.put(_entry("a", result=b"x" * ENTRY_BYTES))
    assert by_bytes.full
    by_bytes.acknowledge("a")
    assert not by_bytes.full


def test_kept_pieces_count() -> None:
    """What a stream left behind is part of the bytes."""
    pieces = [Piece(1, PieceKind.TEXT, b"abc"), Piece(2, PieceKind.TEXT, b"d")]
    finished = Finished("a", "task-a", "succeeded")
    entry = Entry(finished, None, balancer="b", durable=True, pieces=pieces)
    assert entry.size == ENTRY_BYTES + 4


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 30)), max_size=60))
def test_the_size_is_what_is_kept(steps: list[tuple[bool, int, int]]) -> None:
    """Whatever comes and goes, the bytes counted are those of the entries that are there."""
    outbox = Outbox()
    for puts, number, length in steps:
        if puts:
            outbox.put(_entry(str(number), result=b"x" * length, durable=number % 2 == 0))
        elif length == 0:
            outbox.drop_transient("b")
        else:
            outbox.acknowledge(str(number))
        assert outbox.size == sum(entry.size for entry in outbox.select(lambda _: True))


@pytest.mark.parametrize(("missing", "full"), [(1, False), (0, True)])
def test_an_outbox_is_full_at_64_mib_by_default(missing: int, full: bool) -> None:
    """What an entry costs beside its result counts too; few large results fill it like many small."""
    outbox = Outbox()
    outbox.put(_entry("a", result=bytes(64 * 1024 * 1024 - ENTRY_BYTES - missing)))
    assert outbox.full is full


def test_an_outbox_is_full_at_10_000_results_by_default() -> None:
    """Not one earlier."""
    outbox = Outbox()
    seen: list[bool] = []
    for n in range(10_000):
        outbox.put(_entry(str(n), result=None))
        seen.append(outbox.full)
    assert seen.index(True) == 9_999


def test_an_entry_is_a_first_attempt_without_pieces_unless_said_otherwise() -> None:
    """What most attempts are need not be spelled out."""
    entry = _entry("a", result=None)
    assert (entry.attempt, entry.function, list(entry.pieces), entry.size) == (
        1,
        "",
        [],
        ENTRY_BYTES,
    )
