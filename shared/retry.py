"""Retries: whether another attempt follows, and when.

Exponential backoff with full jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015): the wait
is drawn evenly from zero to the capped exponential, so that failures that came together do not come
back together. Time and chance are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.clock import Chance

_MAX_EXPONENT = 62  # 2**62 seconds is past every cap; beyond it floats only lose sense


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How waits grow.

    Attributes:
        base_s: the first wait's upper bound, in seconds.
        cap_s: no wait is longer.
        jitter: draw from [0, wait) when true; else the wait itself.
    """

    base_s: float = 1.0
    cap_s: float = 60.0
    jitter: bool = True

    def bound_s(self, failures: int) -> float:
        """Return the upper bound of the wait after so many failures (1 is the first)."""
        exponent = min(max(failures, 1) - 1, _MAX_EXPONENT)
        return min(self.cap_s, self.base_s * 2.0**exponent)

    def wait_s(self, failures: int, chance: Chance) -> float:
        """Return the wait before the next try, in seconds."""
        bound = self.bound_s(failures)
        return bound * chance.random() if self.jitter else bound


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What follows a failed attempt.

    Attributes:
        again: another attempt follows.
        wait_s: seconds to wait before it.
        reason: why not, when not; for logs.
    """

    again: bool
    wait_s: float = 0.0
    reason: str = ""


# Failures that another attempt may cure. All others are the caller's or final.
RETRYABLE_CODES: frozenset[str] = frozenset({"function_error", "timeout"})


def decide(
    *,
    code: str,
    attempts: int,
    max_attempts: int,
    backoff: Backoff,
    chance: Chance,
    retry_on: Collection[str] | None = None,
) -> RetryDecision:
    """Decide whether a failed attempt is followed by another.

    Args:
        code: why the attempt failed.
        attempts: attempts spent, this one included.
        max_attempts: attempts allowed in all.
        backoff: how long to wait.
        chance: randomness for the jitter.
        retry_on: the failures after which the caller wants another attempt; None for those that it
            may cure.
    """
    if code not in (RETRYABLE_CODES if retry_on is None else retry_on):
        return RetryDecision(again=False, reason=f"{code} is final")
    if attempts >= max_attempts:
        return RetryDecision(again=False, reason=f"{attempts} of {max_attempts} attempts spent")
    return RetryDecision(again=True, wait_s=backoff.wait_s(attempts, chance))
