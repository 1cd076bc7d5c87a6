"""How much is measured: rounds and seconds, and the order in which systems take their turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """The extent of one run.

    Attributes:
        quick: a first impression in three minutes instead of figures to quote.
        rounds: times that every system has its turn.
        few: the same, where a turn takes long.
        seconds: of one turn.
        warm_s: of load before a turn is measured.
        budget_s: no section begins after this.
    """

    quick: bool
    rounds: int
    few: int
    seconds: float
    warm_s: float
    budget_s: float


QUICK = Plan(quick=True, rounds=3, few=2, seconds=0.5, warm_s=0.1, budget_s=165)
FULL = Plan(quick=False, rounds=7, few=3, seconds=1.5, warm_s=0.3, budget_s=720)


def interleaved(rounds: int, turns: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Give every system its turn in every round, there and back, so that drift favours none."""
    names = list(turns)
    seen: dict[str, list[T]] = {name: [] for name in names}
    for n in range(rounds):
        for name in names if n % 2 == 0 else reversed(names):
            seen[name].append(turns[name]())
    return seen


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """Return the median of the ratios round by round: what slowed one round down slowed both."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))
