"""The backoff of the dialer; what it does over sockets is in tests/contract/balancer/test_fleet.py."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from balancer.fleet.dialer import FIRST_BACKOFF_S, LAST_BACKOFF_S, backoff_s
from tests.fakes.chances import Always


@given(failures=st.integers(0, 10**9), seed=st.integers())
def test_a_pause_never_exceeds_two_seconds(failures: int, seed: int) -> None:
    """However often it failed, a lost worker is redialled within 2 s (contract §6), and not at once."""
    pause = backoff_s(failures, Random(seed))
    assert 0 < pause <= LAST_BACKOFF_S == 2.0


def test_pauses_double_up_to_the_bound() -> None:
    """From 50 ms on, each pause may be twice the one before."""
    longest = [backoff_s(failures, Always(1.0)) for failures in range(8)]
    assert longest == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert backoff_s(0, Always(0.0)) == FIRST_BACKOFF_S / 2
