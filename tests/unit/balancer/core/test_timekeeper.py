"""The timekeeper: what time brings, in an order that never dispatches what has just ended."""

from __future__ import annotations

import pytest

from balancer.core.settings import Settings
from shared.task_state import TaskStatus
from tests.fakes.scheduler_rig import HTTP, NOW_S, A, Rig


def test_nothing_is_due_where_nothing_happens() -> None:
    """And a tick does nothing."""
    rig = Rig()
    assert rig.core.next_tick_s() is None
    rig.wait(1000)
    assert rig.commands() == []


def test_the_next_tick_is_the_first_of_all_that_is_due() -> None:
    """A deadline, a retry, a window of a link, one of a lane."""
    rig = Rig()
    rig.up(A, free=1, retries=1)
    rig.wait(1)
    rig.submit("x", within_s=50)
    assert rig.core.next_tick_s() == rig.now_s + 50
    rig.core.link_lost(A, rig.now_s)
    assert rig.core.next_tick_s() == rig.now_s + 2
    rig.fail("x")
    due_s = rig.core.next_tick_s()
    assert due_s is not None
    assert due_s <= rig.now_s + 1.05


def test_an_ended_task_is_not_started_in_the_same_tick() -> None:
    """Its deadline and its next attempt come due together."""
    rig = Rig()
    rig.up(A, free=1, retries=1)
    task = rig.submit("x", within_s=30)
    rig.fail("x")
    rig.commands()
    rig.wait(31)
    assert [entry[0] for entry in rig.commands()] == ["resolve"]
    assert task.status is TaskStatus.TIMED_OUT


def test_calls_without_any_worker_up_end_after_a_while() -> None:
    """503 in their order, for those that wait and those that come; durable tasks wait."""
    rig = Rig()
    rig.up(A, free=0)
    rig.submit("low", priority=9)
    rig.submit("high", priority=1)
    rig.submit("durable", durable=True)
    rig.core.link_lost(A, rig.now_s)
    rig.commands()
    rig.wait(9.9)
    rig.submit("late", priority=1)
    assert rig.commands() == []
    rig.wait(0.2)
    assert [entry[1:] for entry in rig.commands()] == [
        (name, "failed", "no_worker_available") for name in ("high", "late", "low")
    ]
    refused = rig.refusal(rig.task("later"))
    assert (refused.code, refused.status) == ("no_worker_available", 503)
    assert refused.retry_after_s == 10
    rig.submit("durable too", durable=True)
    rig.up(A, free=2)
    assert rig.dispatched() == [("durable", A), ("durable too", A)]


def test_calls_for_what_turns_out_to_be_unknown_end_when_discovery_does() -> None:
    """404; durable ones wait for somebody who hosts it."""
    rig = Rig(discovered=False)
    for name, durable in (("x", False), ("d", True)):
        rig.submit(name, "nobody", durable=durable)
    rig.submit("y", "f")
    rig.up(A, free=0)
    rig.core.discovered(rig.now_s)
    assert rig.end("x") == ("failed", "function_not_found")
    assert list(rig.seen.ends) == ["x"]
    rig.up(A, free=2, functions=("f", "nobody"), boot="b2")
    assert rig.dispatched() == [("d", A), ("y", A)]


def test_a_late_tick_restarts_the_windows() -> None:
    """Nobody was looking: what was heard before says nothing about now. Deadlines are promises."""
    rig = Rig()
    rig.up(A, free=2)
    rig.submit("x", durable=True)
    rig.submit("y", within_s=20)
    rig.core.link_lost(A, rig.now_s)
    rig.now_s += 60
    rig.core.late(60, rig.now_s)
    rig.core.tick(rig.now_s)
    assert rig.core.running(A) == 1
    assert rig.end("y") == ("timed_out", "timeout")
    assert rig.core.check("g", 1, "f", durable=False) is None
    rig.wait(2)
    assert rig.core.running(A) == 0
    rig.wait(8)
    assert rig.core.check("g", 1, "f", durable=False) is not None


def test_a_call_waits_on_while_its_lane_may_come_back() -> None:
    """A worker that was lost by silence and is heard again serves it."""
    rig = Rig()
    rig.up(A, free=0)
    rig.submit("x")
    rig.core.silent(A, rig.now_s)
    rig.wait(35)
    rig.core.heard(A, rig.now_s)
    rig.wait(35)
    assert rig.core.get(rig.id_of("x")) is not None
    assert rig.now_s > NOW_S + 60


def test_a_scheduled_task_is_queued_at_its_moment() -> None:
    """Told as due, then dispatched."""
    rig = Rig()
    rig.up(A, free=1)
    task = rig.task("x")
    task.due_s = rig.now_s + 5
    assert rig.core.submit(task, rig.now_s) is None
    rig.wait(5)
    assert rig.commands() == [("due", "x", ""), ("dispatch", A, "x")]
    assert task.due_s is None


def test_a_call_that_comes_due_where_nobody_serves_it_is_ended() -> None:
    """Its worker was removed while it waited for its next attempt; ending discovery again is nothing."""
    rig = Rig()
    rig.up(A, free=1, retries=1)
    rig.submit("x")
    rig.fail("x")
    rig.core.forget(A, rig.now_s)
    rig.core.discovered(rig.now_s)
    rig.wait(2)
    assert rig.end("x") == ("failed", "group_not_found")


def test_a_call_that_comes_back_to_deserted_workers_is_ended() -> None:
    """Its HTTP worker is counted as lost only after the lane has been given up; nobody is left to ask."""
    rig = Rig(Settings(no_worker_wait_s=10, stall_window_s=30))
    rig.up(A, free=1, kind=HTTP, idempotent=True)
    rig.submit("x")
    rig.core.link_lost(A, rig.now_s)
    rig.wait(10)
    assert "x" not in rig.seen.ends
    rig.wait(20)
    assert rig.end("x") == ("failed", "no_worker_available")


def test_a_stranded_call_is_kept_when_a_worker_comes_back_before_the_tick() -> None:
    """It was refused by its only worker, which was removed, and is there again."""
    rig = Rig()
    rig.up(A, free=1)
    rig.submit("x")
    rig.core.retire(A, rig.now_s)
    rig.refuse("x")
    rig.core.reinstate(A, rig.now_s)
    rig.wait(1)
    assert rig.core.get(rig.id_of("x")) is not None


@pytest.mark.parametrize("how", ["lost", "failed", "refused", "waiting", "running"])
def test_a_task_that_has_ended_leaves_no_deadline_behind(how: str) -> None:
    """Wherever it was when it ended, and whichever of its limits counted."""
    rig = Rig()
    rig.up(A, free=how != "waiting", retries=1, idempotent=True)
    rig.submit("x", wait_s=5, within_s=20)
    if how == "lost":
        rig.up(A, free=0, boot="b2", retries=1, idempotent=True)
    elif how == "failed":
        rig.fail("x")
    elif how == "refused":
        rig.refuse("x")
    assert rig.core.cancel(rig.id_of("x"), "left", rig.now_s)
    rig.wait(1)
    rig.wait(1)
    assert rig.core.next_tick_s() is None
    rig.wait(60)
    assert list(rig.seen.ends) == ["x"]
