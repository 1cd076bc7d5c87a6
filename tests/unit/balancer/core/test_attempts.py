"""Attempts: fenced by their tokens, ended once, spent only by their function."""

from __future__ import annotations

import pytest

from balancer.core.settings import Settings
from shared.errors import Failure
from shared.task import Mode, Outcome
from shared.task_state import TaskStatus
from tests.fakes.scheduler_rig import HTTP, NOW_S, A, B, Held, Rig

SUCCESS = TaskStatus.SUCCEEDED


def rig_with(free: int = 1, *, retries: int = 0, idempotent: bool = False) -> Rig:
    """Return a worker with free slots."""
    rig = Rig()
    rig.up(A, free=free, retries=retries, idempotent=idempotent)
    return rig


# Fencing


def test_the_end_of_the_current_attempt_ends_the_task() -> None:
    """With its result, its worker and its attempts."""
    rig = rig_with()
    rig.submit("x")
    assert rig.finish("x")
    assert rig.seen.ends["x"] == Outcome(SUCCESS, b"1", None, A, 1)
    assert rig.core.get(rig.id_of("x")) is None


def test_an_attempt_ends_once() -> None:
    """A second end is superseded, and changes nothing."""
    rig = rig_with()
    rig.submit("x")
    assert rig.finish("x")
    assert not rig.finish("x")
    assert not rig.fail("x")


@pytest.mark.parametrize("worker", [B, A])
def test_another_token_or_another_worker_is_refused(worker: str) -> None:
    """Equality decides, not order."""
    rig = rig_with()
    rig.up(B, free=0)
    rig.submit("x")
    token = rig.token("x") if worker == B else rig.token_of("t-0")
    assert not rig.core.finished(rig.worker_of(worker), token, Outcome(SUCCESS), rig.now_s)
    assert rig.core.piece(rig.worker_of(worker), token) is None
    assert rig.finish("x")


def test_an_end_after_a_cancel_is_superseded() -> None:
    """And so are its pieces."""
    rig = rig_with()
    rig.submit("x", mode=Mode.STREAM)
    assert rig.core.cancel(rig.id_of("x"), "left", rig.now_s)
    assert rig.core.piece(A, rig.token("x")) is None
    assert not rig.finish("x")
    assert rig.end("x") == ("cancelled", "cancelled")


def test_what_was_never_sent_cannot_end_or_be_refused() -> None:
    """Its token is still in the balancer."""
    rig = rig_with()
    rig.submit("x", durable=True, stored=True)
    assert not rig.finish("x")
    rig.refuse("x", seen=0)
    assert rig.core.running(A) == 1


# Failures and retries


@pytest.mark.parametrize(
    ("code", "status", "end"),
    [
        ("function_error", TaskStatus.FAILED, ("failed", "function_error")),
        ("invalid_params", TaskStatus.FAILED, ("failed", "invalid_params")),
        ("timeout", TaskStatus.TIMED_OUT, ("timed_out", "timeout")),
        (
            "function_error",
            TaskStatus.EXPIRED,
            ("failed", "function_error"),
        ),  # nonsense from a worker
    ],
)
def test_a_failure_without_another_attempt_is_passed_on_at_once(
    code: str, status: TaskStatus, end: tuple[str, str]
) -> None:
    """With its own status and code (contract §9.1)."""
    rig = rig_with()
    rig.submit("x")
    assert rig.fail("x", code, status=status)
    assert rig.end("x") == end
    assert rig.seen.ends["x"].attempts == 1


def test_a_failure_without_a_reason_gets_one() -> None:
    """A worker must say why, but need not be believed to."""
    rig = rig_with()
    rig.submit("x")
    assert rig.core.finished(A, rig.token("x"), Outcome(TaskStatus.FAILED), rig.now_s)
    assert rig.end("x") == ("failed", "function_error")


def test_a_failed_attempt_is_followed_by_another_after_a_backoff() -> None:
    """Scheduled meanwhile; the last failure is the task's."""
    rig = rig_with(retries=1)
    task = rig.submit("x", wait_s=1.0)
    rig.commands()
    assert rig.fail("x")
    assert (task.status, task.attempts, task.token, task.worker) == (
        TaskStatus.SCHEDULED, 1, None, None,
    )  # fmt: skip
    assert task.due_s is not None
    assert NOW_S <= task.due_s <= NOW_S + 1
    rig.report(A, free=1, seen=1)
    assert rig.commands() == [("retried", "x", "function_error")]
    rig.wait(1.1)
    assert rig.commands() == [("due", "x", ""), ("dispatch", A, "x")]
    assert (task.number, task.max_attempts) == (2, 2)
    assert rig.fail("x", "timeout", status=TaskStatus.TIMED_OUT)
    assert rig.end("x") == ("timed_out", "timeout")
    assert rig.seen.ends["x"].attempts == 2


def test_a_retry_keeps_the_place_of_its_task() -> None:
    """It is older than what came meanwhile."""
    rig = rig_with(retries=1)
    rig.submit("old")
    rig.submit("new")
    rig.fail("old")
    rig.wait(2)
    rig.report(A, free=1, seen=1)
    assert [task for task, _ in rig.dispatched()] == ["old", "old"]


def test_a_retry_waits_without_a_limit_of_its_own() -> None:
    """It had its slot in time; only its deadline is left."""
    rig = rig_with(retries=1)
    rig.submit("x", wait_s=1.0, within_s=20)
    rig.fail("x")
    rig.wait(15)
    assert rig.core.get(rig.id_of("x")) is not None
    rig.wait(6)
    assert rig.end("x") == ("timed_out", "timeout")


# Refusals


def test_a_refused_task_goes_back_to_its_own_place() -> None:
    """Before what was accepted after it; no attempt is spent."""
    rig = rig_with()
    task = rig.submit("x")
    rig.submit("y")
    rig.commands()
    rig.refuse("x")
    assert (task.status, task.attempts, task.number) == (TaskStatus.QUEUED, 0, 0)
    assert rig.commands() == [("refused", "x", "no_slot")]
    rig.report(A, free=2, seen=1)
    assert rig.dispatched() == [("x", A), ("y", A)]


def test_the_report_of_a_refusal_is_applied_before_the_task_goes_back() -> None:
    """A worker that has no slot is not chosen again; another one is."""
    rig = rig_with()
    rig.submit("x")
    rig.up(B, free=1)
    rig.commands()
    rig.refuse("x", free=0)
    assert rig.dispatched() == [("x", B)]


def test_a_slot_that_a_refusal_reports_goes_to_the_first_task() -> None:
    """Which is the refused one, not one that came after it."""
    rig = rig_with()
    rig.submit("x")
    rig.submit("y")
    rig.commands()
    rig.refuse("x", free=1)
    assert rig.dispatched() == [("x", A)]


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("function_not_found", ("failed", "function_not_found")),
        ("contract_mismatch", ("failed", "contract_mismatch")),
        ("what_is_this", ("failed", "internal_error")),
    ],
)
def test_a_refusal_that_is_not_about_slots_ends_the_task(code: str, end: tuple[str, str]) -> None:
    """Asking again cannot help; a code that is not known is not passed on."""
    rig = rig_with()
    rig.submit("x")
    rig.refuse("x", code=code)
    assert rig.end("x") == end


@pytest.mark.parametrize("code", ["maintenance", "no_slot", "queue_full", "shutting_down"])
def test_a_refusal_for_now_keeps_the_task(code: str) -> None:
    """A second refusal of the same attempt changes nothing."""
    rig = rig_with()
    rig.submit("x", wait_s=5)
    rig.refuse("x", code=code)
    rig.refuse("x", code=code)
    assert rig.core.counts().waiting == 1
    rig.wait(6)
    assert rig.end("x") == ("timed_out", "queue_timeout")


def test_what_cannot_be_sent_goes_back_and_its_worker_rests() -> None:
    """It has no number, so it takes none; the next report says whether the worker is well."""
    rig = rig_with(free=2)
    rig.submit("x")
    rig.commands()
    rig.core.undispatched(A, rig.token("x"), rig.now_s)
    rig.core.undispatched(A, rig.token("x"), rig.now_s)
    assert rig.commands() == [("refused", "x", "worker_unreachable")]
    rig.report(A, free=1, seen=0)
    assert rig.dispatched() == [("x", A)]


def test_an_input_that_cannot_be_read_now_is_tried_again() -> None:
    """Its worker is well; the shell has waited before it said so."""
    rig = rig_with()
    rig.submit("x", durable=True, stored=True)
    rig.commands()
    rig.core.undispatched(A, rig.token("x"), rig.now_s)
    assert rig.commands() == [("refused", "x", "worker_unreachable"), ("dispatch", A, "x")]


# Cancelling and time


def test_a_waiting_task_is_cancelled_without_a_word_to_workers() -> None:
    """It is on none."""
    rig = rig_with(free=0)
    rig.submit("x")
    rig.commands()
    assert rig.core.cancel(rig.id_of("x"), "left", rig.now_s)
    assert rig.commands() == [("resolve", "x", "cancelled", "cancelled")]


def test_a_running_task_is_cancelled_on_its_worker() -> None:
    """At once for its caller; its slot is free when its worker says so."""
    rig = rig_with()
    rig.submit("x")
    rig.submit("y")
    rig.commands()
    assert rig.core.cancel(rig.id_of("x"), "left", rig.now_s)
    assert rig.commands() == [
        ("cancel", A, rig.token("x"), "left"),
        ("resolve", "x", "cancelled", "cancelled"),
    ]
    rig.report(A, free=1, seen=1)
    assert rig.dispatched() == [("y", A)]


def test_a_cancelled_task_that_was_still_loading_frees_its_slot_at_once() -> None:
    """Its worker has never heard of it; the shell finds that nobody wants it."""
    rig = rig_with()
    task = rig.submit("x", durable=True, stored=True)
    rig.submit("y")
    rig.commands()
    assert rig.core.cancel(rig.id_of("x"), "left", rig.now_s)
    assert rig.commands() == [("resolve", "x", "cancelled", "cancelled"), ("dispatch", A, "y")]
    assert not rig.core.sent(A, rig.token("x"))
    assert (task.token, task.number) == (None, 0)


@pytest.mark.parametrize(
    ("durable", "end"),
    [(False, ("timed_out", "queue_timeout")), (True, ("expired", "expired"))],
)
def test_a_task_that_never_began_has_waited_too_long(durable: bool, end: tuple[str, str]) -> None:
    """All busy until the deadline."""
    rig = rig_with(free=0)
    rig.submit("x", within_s=5, durable=durable)
    rig.wait(5)
    assert rig.end("x") == end


@pytest.mark.parametrize("durable", [False, True])
def test_a_task_that_runs_past_its_deadline_is_ended_there(durable: bool) -> None:
    """504 timeout, and its worker is told to end it."""
    rig = rig_with()
    rig.submit("x", within_s=5, durable=durable)
    rig.commands()
    rig.wait(5)
    assert rig.commands()[:2] == [
        ("cancel", A, rig.token("x"), "timeout"),
        ("resolve", "x", "timed_out", "timeout"),
    ]
    assert not rig.finish("x")


# Lost workers


@pytest.mark.parametrize(
    ("durable", "idempotent", "mode", "pieces", "end"),
    [
        (False, False, Mode.SYNC, 0, ("failed", "worker_lost")),
        (False, True, Mode.SYNC, 0, None),
        (True, False, Mode.WEBHOOK, 0, None),
        (False, True, Mode.STREAM, 0, None),
        (False, True, Mode.STREAM, 1, ("failed", "worker_lost")),
        (False, True, Mode.SYNC, 1, None),  # nobody sees the pieces of a sync task
    ],
)
@pytest.mark.parametrize("how", ["boot", "code", "cancelled", "forgotten"])
def test_a_lost_task_runs_again_if_it_may(
    durable: bool, idempotent: bool, mode: Mode, pieces: int, end: tuple[str, str] | None, how: str
) -> None:
    """Durable, or idempotent and unseen; else 502 at once, not at the deadline."""
    rig = rig_with(idempotent=idempotent)
    rig.up(B, free=0, idempotent=idempotent)
    task = rig.submit("x", durable=durable, mode=mode, wait_s=1.0)
    for _ in range(pieces):
        assert rig.core.piece(A, rig.token("x")) is task
    if how == "boot":
        rig.up(A, free=0, boot="b2", idempotent=idempotent)
    elif how == "code":
        assert rig.fail("x", "worker_lost")
    elif how == "cancelled":
        assert rig.fail("x", "cancelled", status=TaskStatus.CANCELLED)
    else:
        rig.core.forget(A, rig.now_s)
    if end is not None:
        assert rig.end("x") == end
        return
    assert (task.status, task.attempts, task.deaths) == (TaskStatus.QUEUED, 0, 1)
    rig.wait(2)  # it had its slot in time, so it may wait for the next one
    rig.report(B, free=1)
    assert rig.dispatched()[-1] == ("x", B)
    assert rig.finish("x", B)
    assert rig.end("x") == ("succeeded", "")


def test_a_worker_that_stops_in_good_order_is_no_death() -> None:
    """A rolling restart quarantines nothing."""
    rig = rig_with()
    task = rig.submit("x", durable=True)
    for n in range(5):
        assert rig.fail("x", "shutting_down", status=TaskStatus.CANCELLED)
        rig.report(A, free=1, seen=n + 1)
    assert (task.deaths, task.status) == (0, TaskStatus.RUNNING)


@pytest.mark.parametrize(("durable", "end"), [
    (True, ("quarantined", "quarantined")), (False, ("failed", "worker_lost")),
])  # fmt: skip
def test_a_task_under_which_worker_after_worker_dies_is_set_aside(
    durable: bool, end: tuple[str, str]
) -> None:
    """After the third."""
    rig = rig_with(idempotent=True)
    rig.submit("x", durable=durable)
    for n in range(3):
        assert rig.core.get(rig.id_of("x")) is not None
        rig.up(A, free=1, boot=f"next{n}", idempotent=True)
    assert rig.end("x") == end


def test_an_unsent_task_of_a_lost_worker_goes_back_without_a_death() -> None:
    """Its worker has never heard of it."""
    rig = rig_with()
    task = rig.submit("x", durable=True, stored=True)
    rig.up(A, free=0, boot="b2")
    assert (task.deaths, task.status) == (0, TaskStatus.QUEUED)


# Resumed links


def test_a_resumed_link_goes_on_with_what_it_names() -> None:
    """And what it does not name never arrived: back to its own place, no attempt, no death."""
    rig = rig_with(free=3)
    named, lost = rig.submit("named"), rig.submit("lost", mode=Mode.STREAM)
    loading = rig.submit("loading", durable=True, stored=True)
    rig.commands()
    rig.up(A, free=0, holding=[Held(rig.token("named"), named.id, False)])
    assert rig.commands() == [
        ("refused", "lost", "worker_unreachable"),
        ("refused", "loading", "worker_unreachable"),
    ]
    assert (lost.deaths, lost.number, loading.number) == (0, 0, 0)
    assert rig.finish("named")
    rig.report(A, free=1, seen=0)
    assert rig.dispatched() == [("lost", A)]


def test_a_stream_that_was_seen_and_is_not_named_is_lost() -> None:
    """It did arrive, so it cannot be run again."""
    rig = rig_with(free=1, idempotent=True)
    rig.submit("x", mode=Mode.STREAM)
    rig.core.piece(A, rig.token("x"))
    rig.up(A, free=0, idempotent=True)
    assert rig.end("x") == ("failed", "worker_lost")


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("due_s", [None, NOW_S + 50])
def test_a_recovered_task_is_adopted_by_who_holds_it(finished: bool, due_s: float | None) -> None:
    """It goes on where it runs, or its result is taken; nobody starts it a second time."""
    rig = Rig(discovered=False)
    task = rig.task("x", durable=True)
    task.due_s = due_s
    rig.core.restore(task, rig.now_s)
    token = rig.token_of("old-1")
    rig.up(A, free=1, holding=[Held(token, task.id, finished)])
    assert rig.commands() == [("adopted", "x", "")]
    assert (task.status, task.token, task.worker, task.number) == (
        TaskStatus.RUNNING, token, A, 1,
    )  # fmt: skip
    rig.core.discovered(rig.now_s)
    assert rig.dispatched() == []
    assert rig.core.finished(A, token, Outcome(SUCCESS), rig.now_s)
    assert rig.end("x") == ("succeeded", "")


def test_a_recovered_task_is_adopted_once() -> None:
    """The second worker that names it, and the first one naming another attempt, are refused."""
    rig = Rig(discovered=False)
    task = rig.task("x", durable=True)
    rig.core.restore(task, rig.now_s)
    rig.up(A, holding=[Held(rig.token_of("one"), task.id, False)])
    rig.up(B, holding=[Held(rig.token_of("two"), task.id, False)])
    assert rig.commands() == [("adopted", "x", ""), ("cancel", B, "two", "superseded")]
    assert task.token == "one"


def test_only_durable_tasks_that_have_not_begun_here_are_adopted() -> None:
    """A token of this process that is not current has been superseded."""
    rig = rig_with()
    task = rig.submit("x", durable=True)
    old = rig.token("x")
    rig.up(A, free=0, boot="b2")
    rig.up(A, free=0, boot="b2", holding=[Held(old, task.id, False)])
    assert task.status is TaskStatus.QUEUED
    assert rig.commands()[-1] == ("cancel", A, old, "superseded")


def test_an_adopted_task_that_is_lost_again_goes_back_to_its_place() -> None:
    """Like any other."""
    rig = Rig(discovered=False)
    for name in ("x", "y"):
        rig.core.restore(rig.task(name, durable=True), rig.now_s)
    rig.up(A, free=0, holding=[Held(rig.token_of("one"), rig.id_of("x"), False)])
    rig.core.discovered(rig.now_s)
    rig.up(A, free=2, boot="b2")
    assert rig.dispatched() == [("x", A), ("y", A)]


# Plain HTTP workers


def test_the_end_of_a_call_frees_its_slot() -> None:
    """An HTTP worker numbers nothing, so its reports cannot say it."""
    rig = Rig()
    rig.up(A, free=1, limit=1, kind=HTTP)
    for name in "xyz":
        rig.submit(name)
    assert rig.dispatched() == [("x", A)]
    assert rig.finish("x")
    assert rig.dispatched() == [("y", A)]
    assert rig.core.cancel(rig.id_of("y"), "left", rig.now_s)
    assert rig.dispatched() == [("z", A)]


def test_a_call_that_breaks_is_a_lost_worker() -> None:
    """And its task runs elsewhere, if it may."""
    rig = Rig(Settings())
    rig.up(A, free=1, limit=1, kind=HTTP)
    rig.up(B, free=0)
    rig.submit("x", durable=True)
    why = Failure("worker_lost", "The call broke")
    assert rig.core.finished(A, rig.token("x"), Outcome(TaskStatus.FAILED, None, why), rig.now_s)
    assert rig.dispatched() == [("x", A), ("x", A)]


def test_a_waiting_call_that_nobody_can_run_is_given_up() -> None:
    """503; the others of its lane too."""
    rig = rig_with(free=0)
    rig.submit("x")
    rig.core.link_lost(A, rig.now_s)
    rig.wait(10)
    assert rig.end("x") == ("failed", "no_worker_available")
    assert rig.core.counts().waiting_bytes == 0
