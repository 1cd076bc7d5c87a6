"""The fleet: who is up, who is silent, and from when on a worker counts as lost."""

from __future__ import annotations

import pytest

from shared.ids import WorkerId
from shared.task_state import TaskStatus
from tests.fakes.scheduler_rig import HTTP, LINK, A, B, Held, Rig


def durable_rig(kind: str = LINK) -> Rig:
    """Return a worker that runs the durable task x."""
    rig = Rig()
    rig.up(A, free=1, kind=kind)
    rig.submit("x", durable=True)
    rig.commands()
    return rig


@pytest.mark.parametrize(("kind", "window_s"), [(LINK, 2.0), (HTTP, 30.0)])
def test_a_closed_link_has_a_while_to_come_back(kind: str, window_s: float) -> None:
    """RESUME_WINDOW; a plain HTTP worker's calls do not need its slot socket, so there it is longer."""
    rig = durable_rig(kind)
    rig.core.link_lost(A, rig.now_s)
    rig.wait(1)
    rig.core.link_lost(A, rig.now_s)  # told twice: the window does not begin anew
    rig.wait(window_s - 1.1)
    assert rig.core.running(A) == 1
    rig.wait(0.1)
    assert rig.core.running(A) == 0
    assert rig.commands() == [("lost", "x", "worker_lost")]


def test_a_link_that_comes_back_in_time_loses_nothing() -> None:
    """Same boot: the attempt belongs to the task, not to the link."""
    rig = durable_rig()
    rig.core.link_lost(A, rig.now_s)
    rig.wait(1.9)
    rig.up(A, free=0, holding=[Held(rig.token("x"), rig.id_of("x"), False)])
    rig.wait(60)
    assert rig.commands() == []
    assert rig.finish("x")


def test_a_result_that_comes_while_the_link_is_down_is_taken() -> None:
    """Equal tokens are enough."""
    rig = durable_rig()
    rig.core.link_lost(A, rig.now_s)
    assert rig.finish("x")


def test_a_new_boot_loses_the_old_attempts_at_once() -> None:
    """Without any window."""
    rig = durable_rig()
    rig.up(A, free=1, boot="b2")
    assert rig.commands() == [("lost", "x", "worker_lost"), ("dispatch", A, "x")]


def test_a_worker_that_comes_back_too_late_is_told_to_stop() -> None:
    """Its attempt has been superseded."""
    rig = durable_rig()
    old = rig.token("x")
    rig.core.link_lost(A, rig.now_s)
    rig.wait(2)
    rig.commands()
    rig.up(A, free=1, holding=[Held(old, rig.id_of("x"), False)])
    assert rig.commands() == [("cancel", A, old, "superseded"), ("dispatch", A, "x")]
    assert rig.token("x") != old


def test_a_silent_worker_gets_nothing_and_is_lost_after_a_long_while() -> None:
    """A blocked event loop is not a death: STALL_WINDOW."""
    rig = durable_rig()
    rig.core.silent(A, rig.now_s)
    rig.core.silent(A, rig.now_s)
    rig.report(A, free=1, seen=1)
    rig.submit("y")
    rig.wait(29.9)
    assert rig.core.running(A) == 1
    rig.commands()
    rig.wait(0.1)
    assert rig.commands() == [
        ("cancel", A, rig.token("x"), "superseded"),
        ("lost", "x", "worker_lost"),
    ]
    rig.core.heard(A, rig.now_s)
    assert rig.dispatched() == [("x", A)]


def test_a_silent_worker_that_is_heard_goes_on() -> None:
    """Nothing is lost, and its slot is used again; being heard without silence means nothing."""
    rig = durable_rig()
    rig.core.heard(A, rig.now_s)
    rig.core.silent(A, rig.now_s)
    rig.report(A, free=1, seen=1)
    rig.submit("y")
    rig.wait(20)
    assert rig.dispatched() == []
    rig.core.heard(A, rig.now_s)
    assert rig.dispatched() == [("y", A)]
    rig.wait(20)
    assert rig.finish("x")


def test_a_silent_worker_whose_link_closes_is_down() -> None:
    """The shorter window counts from then; being heard cannot bring a closed link up."""
    rig = durable_rig()
    rig.core.silent(A, rig.now_s)
    rig.wait(10)
    rig.core.link_lost(A, rig.now_s)
    rig.core.heard(A, rig.now_s)
    rig.core.silent(A, rig.now_s)
    assert rig.core.counts().workers_up == 0
    rig.wait(2)
    assert rig.core.running(A) == 0


def test_workers_that_nobody_knows_are_ignored() -> None:
    """Whatever is said of them."""
    rig = Rig()
    ghost = WorkerId("ghost:1")
    for tell in (rig.core.link_lost, rig.core.silent, rig.core.heard, rig.core.reinstate):
        tell(ghost, rig.now_s)
    rig.core.retire(ghost)
    rig.core.forget(ghost)
    rig.core.worker_facts(rig.facts(ghost))
    rig.report(ghost)
    rig.wait(1)
    assert rig.commands() == []
    assert rig.core.lanes() == []


def test_a_retired_worker_finishes_and_gets_nothing_new() -> None:
    """Not even over a new link; put back into workers.json, it goes on."""
    rig = durable_rig()
    rig.core.retire(A, rig.now_s)
    rig.report(A, free=5, seen=1)
    rig.submit("y", durable=True)
    rig.up(A, free=5, holding=[Held(rig.token("x"), rig.id_of("x"), False)])
    assert rig.dispatched() == []
    assert rig.core.running(A) == 1
    assert rig.finish("x")
    rig.core.reinstate(A, rig.now_s)
    rig.core.reinstate(A, rig.now_s)
    assert rig.dispatched() == [("y", A)]


def test_a_forgotten_worker_is_unknown() -> None:
    """What it ran is lost; its functions are hosted by nobody."""
    rig = durable_rig()
    rig.core.forget(A, rig.now_s)
    assert rig.commands() == [
        ("cancel", A, rig.token("x"), "superseded"),
        ("lost", "x", "worker_lost"),
    ]
    assert rig.core.worker(A) is None
    assert rig.core.check("g", 1, "f", durable=False) is not None
    rig.wait(60)
    assert rig.commands() == []


def test_changed_facts_move_a_worker() -> None:
    """What waited for a function that it may be sent now is sent."""
    rig = Rig()
    rig.up(A, free=2, functions=("f",))
    rig.up(B, free=0, functions=("f", "g"))
    rig.submit("x", "g")
    rig.commands()
    rig.core.worker_facts(rig.facts(A, ("f", "g")), rig.now_s)
    assert rig.dispatched() == [("x", A)]
    rig.core.worker_facts(rig.facts(A, ("f",)), rig.now_s)
    rig.submit("y", "g")
    assert rig.dispatched() == []


def test_a_changed_weight_counts_at_once() -> None:
    """The worker stays where it is."""
    rig = Rig()
    rig.up(A, free=2)
    rig.up(B, free=3)
    rig.core.worker_facts(rig.facts(A, weight=9.0))
    rig.submit("x")
    assert rig.dispatched() == [("x", A)]


def test_a_worker_may_change_its_group_and_contract() -> None:
    """It was deployed anew under the same address."""
    rig = Rig()
    rig.up(A, free=1)
    rig.up(A, free=1, boot="b2", group="h", contract=2)
    assert rig.core.check("g", 1, "f", durable=False) is not None
    rig.submit("x", group="h", contract=2)
    assert rig.dispatched() == [("x", A)]


def test_a_worker_may_change_its_kind() -> None:
    """A plain HTTP worker was upgraded to one with a link: what it ran is lost, its slots are new."""
    rig = durable_rig(HTTP)
    rig.up(A, free=2, kind=LINK)
    assert rig.commands()[-1] == ("dispatch", A, "x")
    assert rig.core.worker(A) is not None


def test_calls_to_an_http_worker_go_on_over_a_new_slot_socket() -> None:
    """They have connections of their own, so it names none."""
    rig = durable_rig(HTTP)
    rig.core.link_lost(A, rig.now_s)
    rig.wait(5)
    rig.up(A, free=1, kind=HTTP)
    assert rig.commands() == []
    assert rig.finish("x")


def test_two_workers_may_be_lost_in_one_tick() -> None:
    """By the end of their windows; their tasks leave in their own order."""
    rig = Rig()
    rig.up(A, free=1)
    rig.up(B, free=1)
    first, second = rig.submit("x", durable=True), rig.submit("y", durable=True)
    rig.core.link_lost(B, rig.now_s)
    rig.core.link_lost(A, rig.now_s)
    rig.commands()
    rig.wait(2)
    assert rig.commands() == [("lost", "y", "worker_lost"), ("lost", "x", "worker_lost")]
    rig.up(WorkerId("c:1"), free=2)
    assert rig.dispatched() == [("x", "c:1"), ("y", "c:1")]
    assert first.status is second.status is TaskStatus.RUNNING


def test_what_a_worker_holds_and_nobody_wants_is_ended() -> None:
    """Cancelled when it runs, acknowledged when it is a result."""
    rig = Rig()
    runs, done = rig.token_of("runs"), rig.token_of("done")
    rig.up(A, holding=[Held(runs, rig.id_of("p"), False), Held(done, rig.id_of("q"), True)])
    assert rig.commands() == [("cancel", A, runs, "superseded"), ("acknowledge", A, done)]
