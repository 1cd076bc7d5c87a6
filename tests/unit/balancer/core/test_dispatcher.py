"""The dispatcher: no task waits while a slot it may have is free, and the first one goes first."""

from __future__ import annotations

import pytest

from shared.slot_report import SlotReport
from shared.task_state import TaskStatus
from tests.fakes.scheduler_rig import A, B, C, Held, Rig


def test_a_task_goes_to_a_free_slot_at_once() -> None:
    """With a token, a worker, a moment and a number."""
    rig = Rig()
    rig.up(A)
    task = rig.submit("x")
    assert rig.commands() == [("dispatch", A, "x")]
    assert (task.status, task.worker, task.started_s, task.number) == (
        TaskStatus.RUNNING, A, rig.now_s, 1,
    )  # fmt: skip
    assert task.token == rig.token("x")


def test_a_freed_slot_gets_the_first_task_of_all_its_lanes() -> None:
    """Strict priority, then acceptance, over every function that the worker hosts."""
    rig = Rig()
    rig.up(A, free=0, functions=("f", "g", "h"))
    for name, function, priority in (
        ("f9", "f", 9), ("g5", "g", 5), ("h5", "h", 5), ("f1", "f", 1), ("g1", "g", 1),
    ):  # fmt: skip
        rig.submit(name, function, priority=priority)
    order: list[object] = []
    for _ in range(5):
        rig.report(A, free=1, seen=len(order))
        order += [task for task, _ in rig.dispatched()]
    assert order == ["f1", "g1", "g5", "h5", "f9"]


def test_a_report_fills_every_slot_it_frees_and_no_more() -> None:
    """Three waiting, two free."""
    rig = Rig()
    rig.up(A, free=0)
    for name in "xyz":
        rig.submit(name)
    rig.report(A, free=2)
    assert rig.dispatched() == [("x", A), ("y", A)]
    rig.report(A, free=2, seen=0)  # cut before it read them
    assert rig.dispatched() == []


def test_tasks_spread_over_equal_workers() -> None:
    """Most free slots first; among equals the one that was dispatched to longest ago."""
    rig = Rig()
    for order, worker in enumerate((A, B, C)):
        rig.up(worker, free=2, order=order)
    for n in range(6):
        rig.submit(f"x{n}")
    assert [worker for _, worker in rig.dispatched()] == [A, B, C, A, B, C]


def test_a_worker_gets_nothing_that_it_may_not_run() -> None:
    """Though it announces the function, it differs from the reference."""
    rig = Rig()
    rig.up(A, free=1, functions=("f", "g"), eligible=("g",))
    rig.up(B, free=0, functions=("f", "g"))
    rig.submit("x", "f")
    rig.submit("y", "g")
    assert rig.dispatched() == [("y", A)]


def test_tasks_that_come_back_together_leave_in_their_order() -> None:
    """A worker dies with three tasks: none is given away before all are back in their places."""
    rig = Rig()
    rig.up(A, free=3)
    for name, priority in (("low", 9), ("high", 1), ("mid", 5)):
        rig.submit(name, priority=priority, durable=True)
    rig.up(B, free=1)
    rig.commands()
    rig.up(A, free=1, boot="b2")
    # Both have one slot; B has been dispatched to longer ago (never).
    assert rig.dispatched() == [("high", B), ("mid", A)]


def test_tasks_of_several_shapes_leave_in_their_order() -> None:
    """The first task of all goes first, whichever shape runs it, on the best worker for it."""
    rig = Rig()
    rig.up(A, free=2, functions=("f", "g"), order=0)
    for n, (name, function) in enumerate((("g1", "g"), ("f2", "f"))):
        rig.submit(name, function, priority=n + 1, durable=True)
    rig.up(B, free=2, functions=("f", "g"), eligible=("f",), order=1)
    rig.up(C, free=1, functions=("f", "g"), eligible=("g",), order=2)
    rig.commands()
    rig.up(A, free=0, boot="b2", functions=("f", "g"))
    assert rig.dispatched() == [("g1", C), ("f2", B)]


@pytest.mark.parametrize("how", ["silent", "down", "retired"])
def test_who_cannot_be_given_tasks_is_given_none(how: str) -> None:
    """Even when a report of theirs frees a slot."""
    rig = Rig()
    rig.up(A, free=0)
    rig.up(B, free=0)
    rig.submit("x")
    if how == "silent":
        rig.core.silent(A, rig.now_s)
    elif how == "down":
        rig.core.link_lost(A, rig.now_s)
    else:
        rig.core.retire(A, rig.now_s)
    rig.commands()
    rig.core.reported(A, SlotReport(available=5, limit=5), rig.now_s)
    assert rig.dispatched() == []


def test_an_input_in_the_store_holds_its_slot_until_it_is_sent() -> None:
    """`sent` gives it the next number; a report before that has not seen it."""
    rig = Rig()
    rig.up(A, free=1)
    rig.submit("x", durable=True, stored=True)
    assert rig.dispatched() == [("x", A)]
    rig.submit("y")
    rig.report(A, free=1, seen=0)
    assert rig.dispatched() == []
    assert rig.core.sent(A, rig.token("x"))
    rig.report(A, free=1, seen=0)
    assert rig.dispatched() == []
    rig.report(A, free=1, seen=1)
    assert rig.dispatched() == [("y", A)]


def test_a_report_where_nothing_waits_makes_its_worker_idle() -> None:
    """The next task finds it."""
    rig = Rig()
    rig.up(A, free=0)
    rig.report(A, free=2)
    assert rig.dispatched() == []
    rig.submit("x")
    assert rig.dispatched() == [("x", A)]


def test_a_recovered_task_that_begins_is_nobody_elses_any_more() -> None:
    """A worker that names an old attempt of it comes too late."""
    rig = Rig()
    rig.up(A, free=1)
    rig.core.restore(rig.task("x", durable=True), rig.now_s)
    rig.up(B, free=0, holding=[Held(rig.token_of("old"), rig.id_of("x"), False)])
    assert rig.commands() == [("dispatch", A, "x"), ("cancel", B, "old", "superseded")]


def test_a_retired_worker_may_refuse_what_it_was_sent() -> None:
    """Its task waits for another."""
    rig = Rig()
    rig.up(A, free=1)
    rig.up(B, free=0)
    rig.submit("x")
    rig.core.retire(A, rig.now_s)
    rig.commands()
    rig.refuse("x", free=9)
    assert rig.dispatched() == []
    rig.report(B, free=1)
    assert rig.dispatched() == [("x", B)]
