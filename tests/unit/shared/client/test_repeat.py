"""When a request is repeated."""

from __future__ import annotations

from random import Random

import pytest

from shared.client.ask import Ask
from shared.client.repeat import BACKOFF, MAX_RETRY_AFTER_S, repeat_wait_s
from shared.errors import CODES, Failure, error_of

ASK = Ask(method="POST", path="/task")
UNSURE = Ask(method="POST", path="/task", may_be_taken=True)


def _wait_s(
    code: str,
    *,
    ask: Ask = ASK,
    failures: int = 1,
    retries: int = 3,
    retry_after_s: float | None = None,
    left_s: float | None = None,
) -> float | None:
    error = error_of(Failure(code, code, retry_after_s=retry_after_s))
    return repeat_wait_s(
        ask, error, failures=failures, retries=retries, left_s=left_s, chance=Random(1)
    )


REPEATED = {
    "unreachable", "queue_full", "maintenance", "no_worker_available", "no_slot",
    "store_unavailable", "shutting_down",
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(CODES))
def test_which_errors_are_repeated(code: str) -> None:
    """Only what the server has certainly not taken on; never a function that may have run."""
    assert (_wait_s(code) is not None) == (code in REPEATED)


def test_a_store_that_may_have_taken_it() -> None:
    """A durable task without an Idempotency-Key is not handed over twice."""
    assert _wait_s("store_unavailable", ask=UNSURE) is None
    assert _wait_s("queue_full", ask=UNSURE) is not None


@pytest.mark.parametrize(("failures", "again"), [(1, True), (3, True), (4, False)])
def test_the_number_of_tries(failures: int, again: bool) -> None:
    """Three retries are four tries."""
    assert (_wait_s("queue_full", failures=failures) is not None) == again


def test_without_retries_nothing_is_repeated() -> None:
    """`retries=0` means one try."""
    assert _wait_s("unreachable", retries=0) is None


def test_the_server_says_when() -> None:
    """Retry-After is honoured to the second."""
    assert _wait_s("queue_full", retry_after_s=7) == 7


def test_the_server_asks_for_too_long() -> None:
    """A wait past the bound is the caller's to decide on."""
    assert _wait_s("queue_full", retry_after_s=MAX_RETRY_AFTER_S) == MAX_RETRY_AFTER_S
    assert _wait_s("queue_full", retry_after_s=MAX_RETRY_AFTER_S + 1) is None


def test_the_wait_grows() -> None:
    """Without Retry-After the wait is drawn below an exponential bound."""
    for failures in (1, 2, 3):
        wait_s = _wait_s("unreachable", failures=failures)
        assert wait_s is not None
        assert 0 <= wait_s <= BACKOFF.bound_s(failures)


@pytest.mark.parametrize(("left_s", "again"), [(8.0, True), (7.0, False), (0.0, False)])
def test_no_wait_past_the_limit(left_s: float, again: bool) -> None:
    """A request whose own limit would pass while waiting fails now."""
    assert (_wait_s("queue_full", retry_after_s=7, left_s=left_s) is not None) == again


@pytest.mark.parametrize("code", sorted(CODES))
def test_what_has_a_key_may_be_made_again(code: str) -> None:
    """After a connection that broke too, and whatever the store says: the server knows it again."""
    once = Ask(method="POST", path="/task", may_be_taken=True, once=True)
    assert (_wait_s(code, ask=once) is not None) == (code in REPEATED | {"connection_lost"})
