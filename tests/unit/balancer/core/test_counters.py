"""The counters: they begin at nothing, and count one by one."""

from __future__ import annotations

from balancer.core.counters import Counters
from shared.ids import LaneKey

LANE: LaneKey = ("g", 1, "f")


def test_nothing_has_happened_at_the_start() -> None:
    """Every mode is shown from the first second, so that a graph has no gap."""
    counters = Counters()
    assert counters.accepted == {"sync": 0, "stream": 0, "webhook": 0}
    assert (counters.rejected, counters.ended) == ({}, {})
    single = (
        counters.dispatches, counters.refusals, counters.lost, counters.retries,
        counters.superseded, counters.pieces, counters.wait_s, counters.run_s,
    )  # fmt: skip
    assert single == (0,) * 8


def test_ends_and_rejections_are_counted_by_what_they_were() -> None:
    """By lane and code, and by code."""
    counters = Counters()
    for code in ("ok", "ok", "timeout"):
        counters.end(LANE, code)
        counters.reject(code)
    assert counters.ended == {(LANE, "ok"): 2, (LANE, "timeout"): 1}
    assert counters.rejected == {"ok": 2, "timeout": 1}
