"""The backlog: bounds in count and bytes, places of those that wait, and nothing left behind."""

from __future__ import annotations

import pytest

from balancer.core.settings import Settings
from shared.task_state import TaskStatus
from tests.fakes.scheduler_rig import NOW_S, A, B, Held, Rig


def full_rig(**limits: int) -> Rig:
    """Return a worker without a free slot behind bounded queues."""
    rig = Rig(Settings(**limits))
    rig.up(A, free=0, functions=("f", "g"))
    return rig


def test_a_lane_takes_so_many_calls_and_no_more() -> None:
    """429 with Retry-After, at once; another lane has its own bound; a durable task is committed."""
    rig = full_rig(max_queue=2)
    rig.submit("x1")
    rig.submit("x2")
    refused = rig.refusal(rig.task("x3"))
    assert (refused.code, refused.status) == ("queue_full", 429)
    assert refused.retry_after_s is not None
    assert refused.retry_after_s >= 1
    assert rig.core.get(rig.id_of("x3")) is None
    rig.submit("y1", "g")
    rig.submit("d1", durable=True)
    assert rig.core.counts().waiting == 4


def test_durable_tasks_do_not_fill_the_lane_for_calls() -> None:
    """They have a bound of their own, in the store."""
    rig = full_rig(max_queue=1)
    for n in range(5):
        rig.submit(f"d{n}", durable=True)
    rig.submit("x")
    assert rig.refusal(rig.task("y")).code == "queue_full"


def test_all_lanes_together_take_so_many_bytes() -> None:
    """What leaves gives its bytes back."""
    rig = full_rig(max_queue_bytes=10)
    rig.submit("x", size=6)
    rig.submit("y", "g", size=4)
    assert rig.refusal(rig.task("z", size=1)).code == "queue_full"
    rig.core.cancel(rig.id_of("y"), "", rig.now_s)
    rig.submit("z", size=4)
    assert rig.core.counts().waiting_bytes == 10


def test_a_full_lane_does_not_refuse_what_can_run_at_once() -> None:
    """Bounds are of what waits."""
    rig = full_rig(max_queue=0)
    rig.up(B, free=1)
    rig.submit("x", size=100)
    assert rig.refusal(rig.task("y")).code == "queue_full"
    assert rig.core.counts() == (1, 0, 1, 1, 0, 2)


def test_a_refused_task_leaves_no_lane_behind() -> None:
    """A stranger cannot fill the memory with names."""
    rig = Rig(Settings(max_queue=0), discovered=False)
    assert rig.refusal(rig.task("x", "unknown")).code == "queue_full"
    assert rig.core.lanes() == []


@pytest.mark.parametrize(
    ("after_s", "gone", "retry_s"),
    [
        (0.0, 0, 1.0),  # nothing is known yet
        (10.0, 0, 10.0),  # nothing has gone in 10 s
        (10.0, 1, 20.0),  # 0.1 a second; a tenth of 20 is 2: 20 s
        (4.0, 10, 1.0),  # 2.5 a second: 0.8 s, at least 1
        (50.0, 1, 60.0),  # 100 s, at most 60
        (61.0, 1, 1.0),  # too long ago: measured anew
    ],
)
def test_retry_after_follows_the_pace_of_the_lane(
    after_s: float, gone: int, retry_s: float
) -> None:
    """The time after which a tenth of what waits should have gone."""
    rig = full_rig(max_queue=20)
    for n in range(20):
        rig.submit(f"x{n}")
    for n in range(3):  # what went before the lane was found full says nothing about its pace
        rig.report(A, free=1, seen=n)
        rig.submit(f"early{n}")
    rig.refusal(rig.task("first"))
    rig.now_s += after_s
    for n in range(gone):
        rig.report(A, free=1, seen=3 + n)
        rig.submit(f"y{n}")
    refused = rig.refusal(rig.task("again"))
    assert refused.retry_after_s == pytest.approx(retry_s)


def test_recovered_tasks_wait_for_the_end_of_discovery() -> None:
    """A worker may still be running them; what was accepted after them may go first until then."""
    rig = Rig(discovered=False)
    rig.core.restore(rig.task("old", durable=True), rig.now_s)
    rig.up(A, free=1)
    rig.submit("new")
    assert rig.dispatched() == [("new", A)]
    rig.submit("newer")
    rig.core.discovered(rig.now_s)
    rig.report(A, free=1, seen=1)
    assert rig.dispatched() == [("old", A)]
    rig.report(A, free=1, seen=2)
    assert rig.dispatched() == [("newer", A)]


def test_recovered_tasks_run_when_discovery_ends_and_a_slot_is_free() -> None:
    """Nobody has named them, so nobody runs them; ending discovery twice changes nothing."""
    rig = Rig(discovered=False)
    for name in ("x", "y"):
        rig.core.restore(rig.task(name, durable=True), rig.now_s)
    rig.core.restore(rig.task("z", "other", durable=True), rig.now_s)
    rig.up(A, free=5, functions=("f", "empty"))
    assert rig.dispatched() == []
    rig.core.discovered(rig.now_s)
    assert rig.dispatched() == [("x", A), ("y", A)]
    rig.core.discovered(rig.now_s)
    assert rig.dispatched() == []


def test_a_recovered_task_can_be_cancelled_before_and_after_discovery() -> None:
    """Wherever it stands."""
    rig = Rig(discovered=False)
    for name in ("x", "y"):
        rig.core.restore(rig.task(name, durable=True), rig.now_s)
    assert rig.core.cancel(rig.id_of("x"), "", rig.now_s)
    rig.core.discovered(rig.now_s)
    assert rig.core.cancel(rig.id_of("y"), "", rig.now_s)
    rig.up(A, free=5)
    assert rig.dispatched() == []
    assert rig.core.counts() == (0, 0, 0, 0, 0, 1)


def test_a_task_is_restored_once() -> None:
    """A second time it is the same task."""
    rig = Rig()
    rig.up(A, free=5)
    task = rig.task("x", durable=True)
    rig.core.restore(task, rig.now_s)
    rig.core.restore(task, rig.now_s)
    assert rig.dispatched() == [("x", A)]


@pytest.mark.parametrize("discovered", [True, False])
def test_a_scheduled_task_waits_for_its_moment(discovered: bool) -> None:
    """Restored with a moment that has not come; before discovery it goes on waiting then."""
    rig = Rig(discovered=discovered)
    task = rig.task("x", durable=True, size=7)
    task.due_s = NOW_S + 5
    rig.core.restore(task, rig.now_s)
    assert task.status is TaskStatus.SCHEDULED
    assert rig.core.counts() == (1, 1, 0, 0, 7, 0)
    rig.up(A, free=1)
    rig.wait(4.9)
    assert rig.dispatched() == []
    rig.wait(0.2)
    assert rig.dispatched() == ([("x", A)] if discovered else [])
    rig.core.discovered(rig.now_s)
    assert task.status is TaskStatus.RUNNING


def test_a_moment_that_has_passed_is_now() -> None:
    """The balancer was away when it came."""
    rig = Rig()
    rig.up(A, free=1)
    task = rig.task("x", durable=True)
    task.due_s = NOW_S - 5
    rig.core.restore(task, rig.now_s)
    assert rig.dispatched() == [("x", A)]
    assert task.due_s is None


def test_a_scheduled_task_can_be_submitted_and_cancelled() -> None:
    """A free slot does not start it early."""
    rig = Rig()
    rig.up(A, free=1)
    task = rig.task("x")
    task.due_s = NOW_S + 5
    assert rig.core.submit(task, rig.now_s) is None
    assert rig.dispatched() == []
    assert rig.core.cancel(rig.id_of("x"), "", rig.now_s)
    rig.wait(10)
    assert rig.end("x") == ("cancelled", "cancelled")
    assert rig.core.counts().waiting == 0


@pytest.mark.parametrize(
    ("within_s", "wait_s", "ends_s", "end"),
    [
        (None, 3.0, 3.0, ("timed_out", "queue_timeout")),
        (9.0, 3.0, 3.0, ("timed_out", "queue_timeout")),
        (3.0, 9.0, 3.0, ("timed_out", "queue_timeout")),
        (3.0, None, 3.0, ("timed_out", "queue_timeout")),
    ],
)
def test_a_call_waits_for_a_slot_until_the_earlier_of_its_two_limits(
    within_s: float | None, wait_s: float | None, ends_s: float, end: tuple[str, str]
) -> None:
    """QUEUE_TIMEOUT, else its own deadline."""
    rig = Rig()
    rig.up(A, free=0)
    rig.submit("x", within_s=within_s, wait_s=wait_s)
    rig.wait(ends_s - 0.1)
    assert rig.core.get(rig.id_of("x")) is not None
    rig.wait(0.2)
    assert rig.end("x") == end


@pytest.mark.parametrize("within_s", [None, 50.0])
def test_the_limit_of_waiting_ends_when_it_runs(within_s: float | None) -> None:
    """Only its deadline counts then."""
    rig = Rig()
    rig.up(A, free=0)
    rig.submit("x", within_s=within_s, wait_s=3)
    rig.report(A, free=1)
    rig.wait(10)
    assert rig.finish("x")


def test_an_adopted_task_is_no_longer_limited_in_waiting() -> None:
    """It has its slot."""
    rig = Rig(discovered=False)
    rig.core.restore(rig.task("x", durable=True, wait_s=3), rig.now_s)
    rig.up(A, holding=[Held(rig.token_of("old"), rig.id_of("x"), False)])
    rig.wait(5)
    assert rig.core.get(rig.id_of("x")) is not None


def test_a_call_that_comes_back_to_a_lane_without_hosts_is_ended() -> None:
    """Its only worker was removed and refuses it: 404 now, not a time-out later. A durable one waits."""
    rig = Rig()
    rig.up(A, free=2)
    rig.wait(1)
    rig.submit("x")
    rig.submit("d", durable=True)
    rig.core.retire(A, rig.now_s)
    rig.refuse("x", seen=1)
    rig.refuse("d", seen=2)
    assert rig.core.next_tick_s() == 0.0
    rig.wait(0)
    assert rig.end("x") == ("failed", "group_not_found")
    assert rig.core.get(rig.id_of("d")) is not None
