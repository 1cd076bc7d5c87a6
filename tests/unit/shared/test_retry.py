"""Retries: the arithmetic of the backoff, its bounds, and who gets another attempt."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CODES
from shared.retry import RETRYABLE_CODES, Backoff, RetryDecision, decide

POSITIVE = st.floats(min_value=1e-6, max_value=1e6)
FAILURES = st.integers(min_value=-10, max_value=10**9)
SEEDS = st.integers(min_value=0, max_value=2**32)


class Fixed:
    """A chance that always says the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        """Return the value."""
        return self.value


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        (1, 1.0),  # base × 2⁰
        (2, 2.0),  # base × 2¹
        (3, 4.0),
        (6, 32.0),
        (7, 60.0),  # 64, capped
        (10**6, 60.0),  # 2^(10⁶) has no float
        (0, 1.0),  # counts as the first
        (-5, 1.0),
    ],
)
def test_the_bound_doubles_up_to_the_cap(failures: int, expected: float) -> None:
    """The wait's upper bound is base × 2^(failures − 1), never above the cap."""
    assert Backoff(base_s=1.0, cap_s=60.0).bound_s(failures) == expected


@given(POSITIVE, POSITIVE, FAILURES, SEEDS)
def test_a_wait_is_never_negative_and_never_above_its_bound(
    base_s: float, cap_s: float, failures: int, seed: int
) -> None:
    """Jitter only shortens."""
    backoff = Backoff(base_s=base_s, cap_s=cap_s)
    wait_s = backoff.wait_s(failures, Random(seed))
    assert 0 <= wait_s <= backoff.bound_s(failures) <= cap_s


@given(POSITIVE, POSITIVE, st.integers(min_value=1, max_value=200))
def test_without_jitter_waits_never_shrink(base_s: float, cap_s: float, failures: int) -> None:
    """Each failure waits at least as long as the one before."""
    backoff = Backoff(base_s=base_s, cap_s=cap_s, jitter=False)
    assert backoff.wait_s(failures, Fixed(0.0)) <= backoff.wait_s(failures + 1, Fixed(0.0))


def test_jitter_draws_evenly_from_zero_to_the_bound() -> None:
    """Full jitter: the extremes of chance give the extremes of the interval."""
    backoff = Backoff(base_s=4.0)
    assert backoff.wait_s(1, Fixed(0.0)) == 0.0
    assert backoff.wait_s(1, Fixed(0.5)) == 2.0
    assert backoff.wait_s(1, Fixed(0.999)) == pytest.approx(3.996)


@pytest.mark.parametrize("code", sorted(CODES))
def test_only_what_may_be_cured_is_tried_again(code: str) -> None:
    """A function's error and a time-out get another attempt; every other code is final."""
    decision = decide(
        code=code, attempts=1, max_attempts=9, backoff=Backoff(jitter=False), chance=Fixed(0)
    )
    assert decision.again is (code in ("function_error", "timeout"))
    assert {"function_error", "timeout"} == RETRYABLE_CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_caller_may_name_the_codes_itself(code: str) -> None:
    """Then these are tried again and no others, as long as there are attempts."""
    named = ("timeout", "invalid_params")
    for attempts in (1, 2):
        decision = decide(
            code=code, attempts=attempts, max_attempts=2, backoff=Backoff(jitter=False),
            chance=Fixed(0), retry_on=named,
        )  # fmt: skip
        assert decision.again is (code in named and attempts == 1)


@pytest.mark.parametrize(
    ("attempts", "max_attempts", "again"),
    [(1, 1, False), (1, 2, True), (2, 2, False), (3, 2, False), (2, 3, True)],
)
def test_attempts_are_counted_with_the_one_that_failed(
    attempts: int, max_attempts: int, again: bool
) -> None:
    """`max_attempts` executions in all, no more."""
    decision = decide(
        code="timeout",
        attempts=attempts,
        max_attempts=max_attempts,
        backoff=Backoff(),
        chance=Fixed(0.5),
    )
    assert decision.again is again


@given(st.integers(1, 50), SEEDS)
def test_a_task_that_always_fails_ends_after_its_attempts(max_attempts: int, seed: int) -> None:
    """No policy retries for ever."""
    attempts, chance = 1, Random(seed)
    while decide(
        code="function_error",
        attempts=attempts,
        max_attempts=max_attempts,
        backoff=Backoff(),
        chance=chance,
    ).again:
        attempts += 1
    assert attempts == max_attempts


def test_a_refusal_says_why() -> None:
    """The log can tell a final failure from spent attempts."""
    spent = decide(code="timeout", attempts=2, max_attempts=2, backoff=Backoff(), chance=Fixed(0))
    final = decide(code="cancelled", attempts=1, max_attempts=2, backoff=Backoff(), chance=Fixed(0))
    assert spent == RetryDecision(again=False, reason="2 of 2 attempts spent")
    assert final == RetryDecision(again=False, reason="cancelled is final")
