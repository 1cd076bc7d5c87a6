"""The order of turns and the ratios between them."""

from __future__ import annotations

from functools import partial

from benchmarks.plan import FULL, QUICK, interleaved, ratio


def test_turns_go_there_and_back() -> None:
    """Every system has its turn in every round, the first of one round last in the next."""
    order: list[str] = []
    interleaved(3, {name: partial(order.append, name) for name in "ab"})
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_what_was_seen_stands_under_its_system() -> None:
    """The turns of a system are in the order of the rounds."""
    counts = iter(range(4))
    assert interleaved(2, {name: partial(next, counts) for name in "ab"}) == {
        "a": [0, 3],
        "b": [1, 2],
    }


def test_a_ratio_compares_within_rounds() -> None:
    """A round that was slow for both sides changes nothing."""
    assert ratio([20.0, 2.0, 10.0], [10.0, 1.0, 5.0]) == 2.0


def test_a_quick_run_is_shorter_than_a_full_one() -> None:
    """The sections of a run begin within three and fifteen minutes."""
    assert QUICK.budget_s < 180
    assert QUICK.budget_s < FULL.budget_s < 900
