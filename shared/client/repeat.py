"""Whether a request is repeated, and when; pure.

Repeated is only what the server has certainly not taken on: a connection that was never made, and
the answers 429 and 503. A connection that breaks after the request was sent is not repeated,
because the task may have run; unless it has an Idempotency-Key, by which the server knows it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.retry import Backoff

if TYPE_CHECKING:
    from shared.client.ask import Ask
    from shared.clock import Chance
    from shared.errors import CabrankError

# Without Retry-After; first 0.1 s, for a balancer that restarts is back in a moment.
BACKOFF = Backoff(base_s=0.1, cap_s=5.0)
# A longer Retry-After is told to the caller instead of being waited for.
MAX_RETRY_AFTER_S = 30.0


def repeat_wait_s(
    ask: Ask,
    error: CabrankError,
    *,
    failures: int,
    retries: int,
    left_s: float | None,
    chance: Chance,
) -> float | None:
    """Return the wait before a request is repeated, in seconds; None when it is not.

    Args:
        ask: the request.
        error: how the last try ended.
        failures: tries so far.
        retries: tries allowed after the first.
        left_s: until the request's own limit; None when it has none.
        chance: jitter.
    """
    if failures > retries or not _untouched(ask, error):
        return None
    told_s = error.retry_after_s
    if told_s is not None and told_s > MAX_RETRY_AFTER_S:
        return None
    wait_s = BACKOFF.wait_s(failures, chance) if told_s is None else told_s
    return None if left_s is not None and wait_s >= left_s else wait_s


def _untouched(ask: Ask, error: CabrankError) -> bool:
    """Tell whether the server has certainly not taken the request on."""
    if error.code == "unreachable" or (ask.once and error.code == "connection_lost"):
        return True
    unsure = ask.may_be_taken and not ask.once and error.code == "store_unavailable"
    return error.failure.status in (429, 503) and not unsure
