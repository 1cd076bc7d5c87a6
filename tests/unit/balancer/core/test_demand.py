"""Demand: told on change, coarsely, and not more often than a fleet can bear."""

from __future__ import annotations

from balancer.core.demand import INTERVAL_S, NO_PRIORITY
from shared.ids import WorkerId
from tests.fakes.scheduler_rig import HTTP, A, B, Rig


def told(rig: Rig) -> list[tuple[object, ...]]:
    """Let a turn pass; return what workers were told."""
    rig.wait(INTERVAL_S)
    return [entry[1:] for entry in rig.commands() if entry[0] == "demand"]


def busy_rig() -> Rig:
    """Return two workers without a free slot that know that nothing waits."""
    rig = Rig()
    rig.up(A, free=0)
    rig.up(B, free=0)
    assert told(rig) == []
    return rig


def test_workers_are_told_that_something_waits_and_that_nothing_does() -> None:
    """Once each, however many tasks wait meanwhile."""
    rig = busy_rig()
    for name in "xyz":
        rig.submit(name, priority=5)
    assert told(rig) == [(A, 3, 5), (B, 3, 5)]
    rig.submit("w", priority=5)
    assert told(rig) == []
    for name in "wxyz":
        assert rig.core.cancel(rig.id_of(name), "", rig.now_s)
    assert told(rig) == [(A, 0, NO_PRIORITY), (B, 0, NO_PRIORITY)]


def test_a_better_priority_is_told() -> None:
    """And that it is gone again."""
    rig = busy_rig()
    rig.submit("low", priority=9)
    told(rig)
    rig.submit("high", priority=2)
    assert told(rig) == [(A, 2, 2), (B, 2, 2)]
    rig.report(A, free=1)
    assert told(rig) == [(A, 1, 9), (B, 1, 9)]


def test_a_newcomer_is_told_what_the_others_know() -> None:
    """Only it: nothing has changed for them."""
    rig = busy_rig()
    rig.submit("x")
    told(rig)
    rig.up(WorkerId("new:1"), free=0)
    assert told(rig) == [("new:1", 1, 1)]


def test_who_is_down_is_told_when_it_is_back() -> None:
    """A link begins without demand."""
    rig = busy_rig()
    rig.core.link_lost(A, rig.now_s)
    rig.submit("x")
    assert told(rig) == [(B, 1, 1)]
    rig.up(A, free=0)
    assert told(rig) == [(A, 1, 1)]


def test_a_queue_that_fills_and_empties_all_the_time_is_told_rarely() -> None:
    """A shape has its turn once in an interval."""
    rig = busy_rig()
    messages = 0
    for n in range(50):
        rig.submit(f"x{n}")
        rig.wait(INTERVAL_S / 20)
        rig.core.cancel(rig.id_of(f"x{n}"), "", rig.now_s)
        rig.wait(INTERVAL_S / 20)
        messages += sum(entry[0] == "demand" for entry in rig.commands())
    assert messages <= 2 * (50 // 10 + 1)


def test_the_next_turn_is_known() -> None:
    """So that the shell can sleep until then."""
    rig = busy_rig()
    rig.submit("x")
    told(rig)
    assert rig.core.next_tick_s() is None
    rig.submit("y", priority=0.5)
    due_s = rig.core.next_tick_s()
    assert due_s is not None
    assert due_s <= rig.now_s + INTERVAL_S


def test_a_worker_that_hosts_nothing_is_told_nothing() -> None:
    """Nothing can wait for it."""
    rig = Rig()
    rig.up(A, functions=(), kind=HTTP)
    assert told(rig) == []


def test_a_task_that_leaves_while_equal_ones_wait_is_not_told() -> None:
    """Nothing has changed for those who wait for a slot."""
    rig = busy_rig()
    rig.submit("x")
    rig.submit("y")
    told(rig)
    rig.report(A, free=1)
    assert told(rig) == []
