"""What follows a failed and a lost attempt."""

from __future__ import annotations

from random import Random

import pytest

from balancer.core.live_task import LiveTask
from balancer.core.retries import AfterLoss, after_failure, after_loss, attempts_allowed
from balancer.core.settings import Settings
from shared.capability import FunctionSpec
from shared.task import Mode
from tests.fakes.scheduler_rig import NOW_S, Rig

LIMITS = Settings(task_attempts=3, deaths_before_quarantine=3, retry_cap_s=60)
ONCE = FunctionSpec(name="f")
THRICE = FunctionSpec(name="f", max_retries=2, retry_delay_s=2.0)
SAFE = FunctionSpec(name="f", idempotent=True)


def task(
    mode: Mode = Mode.SYNC, *, durable: bool = False, wish: int | None = None,
    within_s: float | None = None,
) -> LiveTask:  # fmt: skip
    """Return a task of some kind."""
    return Rig().task("t", mode=mode, durable=durable, attempts=wish, within_s=within_s)


@pytest.mark.parametrize(
    ("wish", "spec", "allowed"),
    [
        (None, ONCE, 1),  # max_retries 0 + 1
        (None, THRICE, 3),  # max_retries 2 + 1
        (2, THRICE, 2),  # the task's own wish wins
        (5, ONCE, 3),  # capped by TASK_ATTEMPTS
        (None, None, 1),  # nobody hosts it any more
        (0, THRICE, 1),  # one attempt is always had
    ],
)
def test_attempts_are_the_tasks_wish_else_its_functions_capped(
    wish: int | None, spec: FunctionSpec | None, allowed: int
) -> None:
    """max_attempts, else max_retries + 1, at most TASK_ATTEMPTS."""
    assert attempts_allowed(task(wish=wish), spec, LIMITS) == allowed


@pytest.mark.parametrize(
    ("code", "spent", "again"),
    [
        ("function_error", 1, True),
        ("timeout", 2, True),
        ("function_error", 3, False),  # all spent
        ("invalid_params", 1, False),  # another attempt cannot cure it
        ("function_not_found", 1, False),
    ],
)
def test_a_failure_is_followed_by_another_attempt_while_there_is_one(
    code: str, spent: int, again: bool
) -> None:
    """Only failures that another attempt may cure."""
    failed = task()
    failed.attempts, failed.max_attempts = spent, 3
    assert after_failure(failed, code, THRICE, LIMITS, Random(1), NOW_S).again is again


@pytest.mark.parametrize(("spec", "bound_s"), [(THRICE, 4.0), (None, 2.0)])
def test_the_backoff_grows_from_the_functions_own_delay(
    spec: FunctionSpec | None, bound_s: float
) -> None:
    """After the second failure: twice the delay at most, with full jitter."""
    failed = task()
    failed.attempts, failed.max_attempts = 2, 9
    waits = [
        after_failure(failed, "timeout", spec, LIMITS, Random(n), NOW_S).wait_s for n in range(99)
    ]
    assert 0 <= min(waits) < bound_s / 4
    assert bound_s * 3 / 4 < max(waits) <= bound_s


def test_no_retry_is_planned_past_the_deadline() -> None:
    """The caller hears of the failure now, not of a time-out later."""
    failed = task(within_s=0.0)
    failed.attempts, failed.max_attempts = 1, 3
    assert not after_failure(failed, "timeout", THRICE, LIMITS, Random(1), NOW_S).again
    failed.deadline_s = NOW_S + 100
    assert after_failure(failed, "timeout", THRICE, LIMITS, Random(1), NOW_S).again


def test_a_stream_that_has_shown_a_piece_is_never_run_again() -> None:
    """The caller would see the piece twice; before the first one it is like any task."""
    stream = task(Mode.STREAM)
    stream.attempts, stream.max_attempts = 1, 3
    assert after_failure(stream, "timeout", THRICE, LIMITS, Random(1), NOW_S).again
    stream.pieces = 1
    assert not after_failure(stream, "timeout", THRICE, LIMITS, Random(1), NOW_S).again
    assert after_loss(stream, SAFE, LIMITS) is AfterLoss.FAIL


@pytest.mark.parametrize(
    ("durable", "spec", "deaths", "then"),
    [
        (False, ONCE, 1, AfterLoss.FAIL),  # nobody said that running it twice does no harm
        (False, None, 1, AfterLoss.FAIL),
        (False, SAFE, 1, AfterLoss.REQUEUE),
        (False, SAFE, 3, AfterLoss.FAIL),  # it kills workers
        (True, ONCE, 1, AfterLoss.REQUEUE),  # at least once
        (True, None, 2, AfterLoss.REQUEUE),
        (True, ONCE, 3, AfterLoss.QUARANTINE),
    ],
)
def test_a_lost_worker_costs_no_attempt_but_is_counted(
    durable: bool, spec: FunctionSpec | None, deaths: int, then: AfterLoss
) -> None:
    """Durable and idempotent tasks run again, until the third death."""
    lost = task(durable=durable)
    lost.deaths = deaths
    assert after_loss(lost, spec, LIMITS) is then
