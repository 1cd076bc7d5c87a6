"""The window of a stream: bounded by credit, and nothing is lost in a cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.task import PieceKind
from worker.core.stream_window import StreamWindow


def test_credit_opens_and_closes_the_window() -> None:
    """Pieces may start while credit is left; the reader's grants open the window again."""
    window = StreamWindow(10)
    assert window.open
    window.add(PieceKind.TEXT, b"x" * 9)
    assert window.open
    window.add(PieceKind.TEXT, b"y" * 50)
    assert not window.open
    window.grant(49)
    assert not window.open
    window.grant(1)
    assert window.open


def test_without_credit_nothing_starts() -> None:
    """A reader that granted nothing gets nothing."""
    assert not StreamWindow(0).open


def test_pieces_are_numbered_from_one() -> None:
    """The reader drops what it has by these numbers."""
    window = StreamWindow(100)
    numbers = [window.add(PieceKind.JSON, b"1").seq for _ in range(3)]
    assert numbers == [1, 2, 3]


def test_pieces_are_kept_until_they_are_paid_for() -> None:
    """After a cut everything is offered again that the reader did not grant back."""
    window = StreamWindow(100)
    for data in (b"aaaa", b"bbbb", b"cccc"):
        window.add(PieceKind.TEXT, data)
    window.grant(4)
    assert [piece.data for piece in window.kept()] == [b"bbbb", b"cccc"]
    window.grant(3)
    assert [piece.data for piece in window.kept()] == [b"bbbb", b"cccc"]
    window.grant(5)
    assert window.kept() == []


def test_a_generous_or_hostile_grant_does_no_harm() -> None:
    """More than was sent, or less than nothing, does not move the window beyond what was sent."""
    window = StreamWindow(10)
    window.add(PieceKind.TEXT, b"x" * 10)
    window.grant(10**12)
    window.grant(-5)
    assert window.open
    window.add(PieceKind.TEXT, b"y" * 10)
    assert not window.open


@given(
    st.integers(1, 50),
    st.lists(st.one_of(st.binary(min_size=1, max_size=20), st.integers(0, 40)), max_size=60),
)
def test_what_is_on_its_way_is_bounded(credit: int, steps: list[bytes | int]) -> None:
    """Never more than the credit and one piece is unpaid; what is kept is exactly the unpaid tail."""
    window = StreamWindow(credit)
    sent: list[bytes] = []
    paid = 0
    for step in steps:
        if isinstance(step, int):
            window.grant(step)
            paid = min(paid + step, sum(map(len, sent)))
        elif window.open:
            window.add(PieceKind.BYTES, step)
            sent.append(step)
        unpaid = sum(map(len, sent)) - paid
        assert unpaid < credit + 20
        kept = [piece.data for piece in window.kept()]
        assert kept == sent[len(sent) - len(kept) :]
        assert sum(map(len, kept)) >= unpaid
        assert sum(map(len, kept[1:])) < max(unpaid, 1)
