"""What of a stream was read, and the credit for what comes again after a cut."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from balancer.core.stream_flow import StreamFlow
from shared.ids import Token, WorkerId
from shared.task import Mode, Piece, PieceKind
from tests.fakes.scheduler_rig import A, Rig
from worker.core.stream_window import StreamWindow

CREDIT = 10


def test_a_piece_is_unread_until_all_its_bytes_are_read() -> None:
    """Reading half a piece reads none."""
    flow = StreamFlow()
    for size in (3, 4, 5):
        flow.add(size)
    assert flow.unread == 3
    flow.read(6)
    assert flow.unread == 2
    flow.read(1)
    assert flow.unread == 1
    flow.read(5)
    assert flow.unread == 0


def test_a_piece_that_comes_again_is_credited_when_it_was_read() -> None:
    """The credit for what was read was lost with the link; for what was not, it is still to come."""
    rig = Rig()
    rig.up(A)
    task = rig.submit("x", mode=Mode.STREAM)
    token = rig.token("x")
    for seq in (1, 2):
        assert rig.core.piece(A, token, seq, 10) is task
    assert task.flow is not None
    task.flow.read(10)
    assert rig.core.wants_credit(A, token, 1)
    assert not rig.core.wants_credit(A, token, 2)


def test_a_piece_of_nobody_is_credited() -> None:
    """Its worker must not wait for credit that cannot come any more."""
    rig = Rig()
    rig.up(A)
    assert rig.core.wants_credit(A, Token("?"), 1)
    assert rig.core.wants_credit(WorkerId("nobody"), Token("?"), 1)


class Stream:
    """A stream over a link that is cut again and again: both sides' real accounts."""

    def __init__(self) -> None:
        self.window = StreamWindow(CREDIT)
        self.flow = StreamFlow()
        self.way: list[Piece] = []  # to the balancer
        self.credits: list[int] = []  # to the worker
        self.got = 0
        self.unread: list[int] = []

    def make(self, size: int) -> None:
        """The function yields."""
        if self.window.open:
            self.way.append(self.window.add(PieceKind.BYTES, b"x" * size))

    def arrive(self) -> None:
        """A piece arrives at the balancer."""
        if not self.way:
            return
        piece = self.way.pop(0)
        size = len(piece.data)
        if piece.seq > self.got:
            assert piece.seq == self.got + 1, "a piece is missing"
            self.got = piece.seq
            self.flow.add(size)
            self.unread.append(size)
            assert sum(self.unread) <= CREDIT + size, "more is unread than the credit allows"
        elif piece.seq <= self.got - self.flow.unread:
            self.credits.append(size)

    def read(self) -> None:
        """The caller reads a piece."""
        if self.unread:
            size = self.unread.pop(0)
            self.flow.read(size)
            self.credits.append(size)

    def credit(self) -> None:
        """A grant arrives at the worker."""
        if self.credits:
            self.window.grant(self.credits.pop(0))

    def cut(self) -> None:
        """The link breaks and comes back: what was on its way is lost, what was kept is sent again."""
        self.credits.clear()
        self.way = self.window.kept()


ACTS = st.one_of(
    st.tuples(st.just("make"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["arrive", "read", "credit", "arrive", "credit", "cut"]), st.just(0)),
)


# The first piece is credited as sent again and as read: the second is forgotten on its way.
TWICE = ["make", "arrive", "cut", "arrive", "read", "make", "credit", "credit", "cut"]


@example([(act, 4) for act in TWICE])
@given(st.lists(ACTS, max_size=120))
def test_cuts_neither_lose_a_piece_nor_stop_a_stream(acts: list[tuple[str, int]]) -> None:
    """Whatever is lost with links: each piece comes once, in order, and the credit comes back whole."""
    stream = Stream()
    for act, size in acts:
        if act == "make":
            stream.make(size)
        else:
            getattr(stream, act)()
    for _ in range(len(acts) + 1):
        for _ in range(len(acts) + 1):
            stream.arrive()
            stream.read()
            stream.credit()
    assert stream.got == stream.window.seq
    assert stream.window.kept() == [], "all is read, so all is credited"
