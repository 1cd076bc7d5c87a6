"""The scheduler as a whole: short scripts of events and their exact commands."""

from __future__ import annotations

import pytest

from balancer.core.fleet import PATIENCE, REST_S
from balancer.core.scheduler import Settings
from shared.errors import Failure
from shared.ids import TaskId, Token, WorkerId
from shared.slot_report import SlotReport
from shared.task import Mode, Outcome
from shared.task_state import TaskStatus
from tests.fakes.scheduler_rig import HTTP, A, B, Rig

GHOST = WorkerId("ghost:1")


def test_a_task_from_its_submission_to_its_end() -> None:
    """Submitted, dispatched, finished; the report frees its slot for the next."""
    rig = Rig()
    rig.up(A, free=1)
    rig.submit("x")
    rig.submit("y")
    assert rig.finish("x")
    rig.report(A, free=1, seen=1)
    assert rig.commands() == [
        ("dispatch", A, "x"),
        ("resolve", "x", "succeeded", ""),
        ("dispatch", A, "y"),
    ]


def test_excess_tasks_of_one_group_do_not_hold_back_another() -> None:
    """Contract §9.4: slots of the other group are free and are used."""
    rig = Rig()
    rig.up(A, free=1, group="one")
    rig.up(B, free=1, group="two")
    for n in range(20):
        rig.submit(f"one{n}", group="one", priority=1)
    rig.submit("two", group="two", priority=9)
    assert rig.dispatched() == [("one0", A), ("two", B)]


def test_a_task_for_an_unknown_function_is_refused() -> None:
    """404, and nothing is kept; a durable one is committed already, so it waits."""
    rig = Rig()
    rig.up(A)
    assert rig.refusal(rig.task("x", "nobody")).status == 404
    assert rig.core.get(TaskId("x")) is None
    assert rig.core.submit(rig.task("d", "nobody", durable=True), rig.now_s) is None
    assert rig.core.get(TaskId("d")) is not None


def test_a_task_id_is_held_once() -> None:
    """A second task under it is refused; the first goes on."""
    rig = Rig()
    rig.up(A)
    first = rig.submit("x")
    assert rig.refusal(rig.task("x")).code == "internal_error"
    assert rig.core.get(TaskId("x")) is first


def test_questions_are_answered_from_what_workers_announce() -> None:
    """Spec, only group, check."""
    rig = Rig()
    rig.up(A, retries=2)
    spec = rig.core.spec(("g", 1, "f"))
    assert spec is not None
    assert spec.max_retries == 2
    assert rig.core.only_group("f", 1) == "g"
    assert isinstance(rig.core.only_group("x", 1), Failure)
    assert rig.core.check("g", 1, "f", durable=False) is None


def test_pieces_are_counted_and_belong_to_a_task() -> None:
    """Of the current attempt."""
    rig = Rig()
    rig.up(A)
    task = rig.submit("x", mode=Mode.STREAM)
    assert rig.core.piece(A, rig.token("x")) is task
    assert task.pieces == 1
    assert rig.core.piece(GHOST, rig.token("x")) is None


def test_nothing_raises_on_what_comes_from_the_network() -> None:
    """Unknown workers and tokens, repeated ends, absurd numbers: ignored or clamped."""
    rig = Rig()
    rig.up(A, free=1)
    rig.submit("x")
    rig.commands()
    absurd = SlotReport(seen=-1, available=10**12, limit=-5, used=-7, queue=-1, stuck=-1)
    for worker in (A, GHOST):
        rig.core.reported(worker, absurd, rig.now_s)
        rig.core.refused(worker, Token("?"), "no_slot", "", absurd, rig.now_s)
        rig.core.undispatched(worker, Token("?"), rig.now_s)
        assert not rig.core.sent(worker, Token("?"))
        assert not rig.core.finished(worker, Token("?"), Outcome(TaskStatus.SUCCEEDED), rig.now_s)
        assert rig.core.piece(worker, Token("?")) is None
    assert not rig.core.cancel(TaskId("?"), "", rig.now_s)
    rig.core.link_lost(GHOST, rig.now_s)
    assert rig.commands() == []
    assert rig.finish("x")


def test_a_refusal_over_a_closed_link_gives_the_task_back() -> None:
    """Its report is worth nothing any more."""
    rig = Rig()
    rig.up(A, free=1)
    rig.submit("x")
    rig.core.link_lost(A, rig.now_s)
    rig.commands()
    rig.refuse("x", free=5)
    assert rig.commands() == [("refused", "x", "no_slot")]


def test_sent_is_answered_once_loaded_too() -> None:
    """A dispatch that has its number is still wanted."""
    rig = Rig()
    rig.up(A)
    rig.submit("x", durable=True, stored=True)
    assert rig.core.sent(A, rig.token("x"))
    assert rig.core.sent(A, rig.token("x"))
    rig.report(A, free=1, seen=1)
    assert rig.finish("x")


def test_a_lost_task_finds_a_free_slot_elsewhere_in_the_same_event() -> None:
    """Its worker gave it up while another one is idle."""
    rig = Rig()
    rig.up(A, free=1, idempotent=True)
    rig.submit("x")
    rig.up(B, free=1, idempotent=True)
    rig.commands()
    assert rig.fail("x", "worker_lost")
    assert rig.commands() == [("lost", "x", "worker_lost"), ("dispatch", B, "x")]


def test_a_failed_call_of_an_http_worker_frees_its_slot() -> None:
    """For the task that waits."""
    rig = Rig()
    rig.up(A, free=1, limit=1, kind=HTTP)
    rig.submit("x")
    rig.submit("y")
    rig.commands()
    assert rig.fail("x")
    assert rig.dispatched() == [("y", A)]


@pytest.mark.parametrize("count", [1, 7])
def test_everything_ends_and_nothing_is_left(count: int) -> None:
    """No task, no byte, no lane, no timer."""
    rig = Rig(Settings())
    rig.up(A, free=3, limit=3)
    for n in range(count):
        rig.submit(f"x{n}", within_s=100, wait_s=50, priority=n + 1)
    done = 0
    while rig.core.counts().running:
        running = [name for name in rig.seen.tokens if name not in rig.seen.ends]
        assert rig.finish(running[0])
        done += 1
        rig.report(A, free=1, seen=len(rig.seen.tokens))
    assert done == count
    rig.core.forget(A, rig.now_s)
    rig.wait(1)
    assert rig.core.counts() == (0, 0, 0, 0, 0, 0)
    assert rig.core.lanes() == []
    assert rig.core.next_tick_s() is None


def test_a_restored_task_is_held_once_and_can_be_cancelled() -> None:
    """It is dispatched after discovery; told twice it is one task."""
    rig = Rig(discovered=False)
    task = rig.task("x", durable=True)
    rig.core.restore(task, rig.now_s)
    rig.core.restore(task, rig.now_s)
    assert rig.core.tasks() == [task]
    rig.up(A, free=1)
    assert rig.commands() == []
    rig.core.discovered(rig.now_s)
    assert rig.dispatched() == [("x", A)]
    assert rig.core.cancel(task.id, "operator", rig.now_s)
    assert not rig.core.cancel(task.id, "operator", rig.now_s)


def test_the_life_of_a_worker() -> None:
    """Each event settles what it changes."""
    rig = Rig()
    rig.up(A, free=9)
    rig.core.worker_facts(rig.facts(A, ("f", "g")))
    rig.core.worker_facts(rig.facts(A, ("f", "g", "h")), rig.now_s)
    rig.core.silent(A, rig.now_s)
    rig.submit("x", "h")
    assert rig.commands() == []
    rig.core.heard(A, rig.now_s)
    assert rig.dispatched() == [("x", A)]
    rig.core.retire(A)
    rig.submit("y", "h", durable=True)
    assert rig.commands() == []
    rig.core.reinstate(A, rig.now_s)
    assert rig.dispatched() == [("y", A)]
    rig.wait(1)
    rig.core.link_lost(A, rig.now_s)
    assert rig.core.running(A) == 2
    rig.core.late(60, rig.now_s)
    assert rig.core.next_tick_s() == rig.now_s + 2
    rig.wait(2)
    assert rig.core.running(A) == 0
    rig.core.forget(A)
    assert rig.core.worker(A) is None
    assert [lane.lane[2] for lane in rig.core.lanes()] == ["h"]


def test_a_full_lane_refuses_and_a_cancel_makes_room() -> None:
    """429, until somebody leaves."""
    rig = Rig(Settings(max_queue=1))
    rig.up(A, free=0)
    rig.submit("x")
    assert rig.refusal(rig.task("y")).status == 429
    assert rig.core.cancel(TaskId("x"), "left", rig.now_s)
    rig.submit("y")
    assert [task.id for task in rig.core.tasks()] == ["y"]


def test_a_piece_that_was_sent_again_is_not_counted_twice() -> None:
    """After a cut a worker sends again what has no credit; what came before is dropped."""
    rig = Rig()
    rig.up(A)
    task = rig.submit("x", mode=Mode.STREAM)
    token = rig.token("x")
    assert rig.core.piece(A, token, 1) is task
    assert rig.core.piece(A, token, 1) is None
    assert rig.core.piece(A, token, 2) is task
    assert rig.core.piece(A, token, 1) is None
    assert task.pieces == 2


def test_a_call_is_refused_where_only_a_durable_task_waits() -> None:
    """That its lane is there does not mean that anybody serves it."""
    rig = Rig()
    rig.up(A, free=1)
    rig.submit("waits", "nobody", durable=True)
    assert rig.refusal(rig.task("call", "nobody")).code == "function_not_found"
    assert [task.id for task in rig.core.tasks()] == ["waits"]


def test_a_worker_that_refuses_what_it_has_room_for_is_not_asked_again_at_once() -> None:
    """A broken worker must not turn one task into a hot loop; time or its next report ends its rest."""
    rig = Rig()
    rig.up(A, free=5, limit=5)
    rig.submit("t")
    tokens = rig.seen.tokens["t"]

    def refuse() -> SlotReport:
        room = SlotReport(seen=len(tokens), available=5, limit=5)
        rig.core.refused(A, tokens[-1], "no_slot", "", room, rig.now_s)
        return room

    while len(tokens) < 100:
        asked = len(tokens)
        refuse()
        if len(tokens) == asked:
            break
    assert len(tokens) == PATIENCE
    rig.now_s += REST_S
    rig.core.tick(rig.now_s)
    assert len(tokens) == PATIENCE + 1
    room = refuse()
    assert len(tokens) == PATIENCE + 1
    rig.core.reported(A, room, rig.now_s)
    assert len(tokens) == PATIENCE + 2
