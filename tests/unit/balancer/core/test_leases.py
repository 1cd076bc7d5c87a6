"""What ends by time: never early, at most a bucket late, and restartable where nobody looked."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.leases import RESOLUTION, DeadlineWheel, Windows
from tests.fakes.scheduler_rig import Rig

TASKS = [Rig().task(f"t{n}") for n in range(20)]
A, B, C = TASKS[:3]


@pytest.mark.parametrize(
    ("due_s", "now_s", "expired"),
    [
        (1.0, 0.999, False),
        (1.0, 1.0, True),  # exactly at its deadline
        (1.01, 1.01, False),  # up to a bucket late …
        (1.01, 1.05, True),
        (0.0, 5.0, True),
        (-3.0, 0.0, True),
        (inf, 1e11, False),
        (nan, 1e11, False),
    ],
)
def test_a_task_is_due_at_its_moment_or_a_bucket_later(
    due_s: float, now_s: float, expired: bool
) -> None:
    """Never earlier; no number at all is never."""
    wheel = DeadlineWheel()
    wheel.add(A, due_s)
    assert wheel.expired(now_s) == ([A] if expired else [])
    wheel.remove(A, due_s)
    assert wheel.expired(1e12) == []
    assert wheel.next_s() is None


def test_what_is_taken_back_does_not_come_due() -> None:
    """A finished task leaves its bucket; the others stay, in order of entry."""
    wheel = DeadlineWheel()
    for task in (C, A, B):
        wheel.add(task, 1.0)
    wheel.remove(A, 1.0)
    assert wheel.expired(2.0) == [C, B]
    wheel.remove(C, 1.0)


def test_the_wheel_knows_when_to_look_again() -> None:
    """At the end of the first bucket that has a task; emptied ones are passed over."""
    wheel = DeadlineWheel()
    wheel.add(B, 7.0)
    wheel.add(A, 3.0)
    assert wheel.next_s() == 3.0
    wheel.remove(A, 3.0)
    assert wheel.next_s() == 7.0
    wheel.add(C, 3.0)
    assert wheel.next_s() == 3.0
    assert wheel.expired(8.0) == [C, B]
    assert wheel.next_s() is None


@given(st.dictionaries(st.integers(0, 19), st.floats(0, 50), max_size=20), st.floats(0, 60))
def test_exactly_what_is_due_expires(dues: dict[int, float], now_s: float) -> None:
    """And a second look finds nothing more."""
    wheel = DeadlineWheel()
    for n, due_s in dues.items():
        wheel.add(TASKS[n], due_s)
    expired = set(wheel.expired(now_s))
    for n, due_s in dues.items():
        assert TASKS[n] not in expired or due_s <= now_s + 1e-9
        assert TASKS[n] in expired or due_s > now_s - 1 / RESOLUTION - 1e-9
    assert wheel.expired(now_s) == []


def test_a_window_ends_at_its_moment() -> None:
    """By its end, and equal ends by their start."""
    windows: Windows[str] = Windows()
    windows.start("b", 0.0, 2.0)
    windows.start("a", 1.0, 1.0)
    windows.start("c", 0.0, 1.0)
    assert (len(windows), "a" in windows, windows.next_s()) == (3, True, 1.0)
    assert windows.expired(0.9) == []
    assert windows.expired(2.0) == ["c", "b", "a"]
    assert (len(windows), windows.next_s()) == (0, None)


def test_a_stopped_window_does_not_end() -> None:
    """Nor does the old one of a key that was started again."""
    windows: Windows[str] = Windows()
    windows.start("a", 0.0, 1.0)
    windows.start("b", 0.0, 1.0)
    windows.start("b", 0.5, 1.0)
    windows.stop("a")
    windows.stop("nobody")
    assert windows.next_s() == 1.5
    assert windows.expired(1.4) == []
    assert windows.expired(1.5) == ["b"]


def test_late_windows_begin_again() -> None:
    """Nobody was looking while they ran: each gets its full length from now."""
    windows: Windows[str] = Windows()
    windows.start("short", 0.0, 1.0)
    windows.start("long", 0.0, 5.0)
    windows.restart(100.0)
    assert windows.expired(100.9) == []
    assert windows.expired(101.0) == ["short"]
    assert windows.expired(105.0) == ["long"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 9), st.floats(0, 9)), max_size=30))
def test_expiry_is_monotone_in_time(starts: list[tuple[str, float, float]]) -> None:
    """What is over now is over later too, and comes once."""
    early: Windows[str] = Windows()
    late: Windows[str] = Windows()
    for key, now_s, length_s in starts:
        early.start(key, now_s, length_s)
        late.start(key, now_s, length_s)
    first = early.expired(5.0)
    assert set(first) <= set(late.expired(20.0))
    assert sorted(first + early.expired(20.0)) == sorted({key for key, _, _ in starts})


def test_deadlines_that_were_taken_back_leave_nothing() -> None:
    """A call with a deadline of a day must not cost memory for a day, and none is lost by the tidying."""
    wheel = DeadlineWheel()
    task, other = Rig().task("t"), Rig().task("o")
    wheel.add(other, 50_000.0)
    for n in range(20_000):
        wheel.add(task, float(n))
        wheel.remove(task, float(n))
    assert len(wheel) < 3000
    assert wheel.next_s() == 50_000.0
    assert wheel.expired(50_000.0) == [other]
    assert len(wheel) == 0
