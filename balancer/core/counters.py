"""Counters of one balancer: plain integers, read by the metrics page and changed by the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.ids import LaneKey


class Counters:
    """What has happened since the start.

    Attributes:
        accepted: tasks taken, by mode.
        ended: tasks ended, by lane and code ("ok" for success).
        dispatches, refusals, lost, retries, superseded: attempts, by what became of them.
        wait_s, run_s: sums over ended tasks, in seconds: before the last dispatch, and after it.
        pieces: stream pieces passed on.
    """

    __slots__ = (
        "accepted", "dispatches", "ended", "lost", "pieces", "refusals", "rejected", "retries", "run_s",
        "superseded", "wait_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.accepted: dict[str, int] = {"sync": 0, "stream": 0, "webhook": 0}
        self.rejected: dict[str, int] = {}
        self.ended: dict[tuple[LaneKey, str], int] = {}
        self.dispatches = 0
        self.refusals = 0
        self.lost = 0
        self.retries = 0
        self.superseded = 0
        self.pieces = 0
        self.wait_s = 0.0
        self.run_s = 0.0

    def end(self, lane: LaneKey, code: str) -> None:
        """Count an ended task."""
        key = (lane, code)
        self.ended[key] = self.ended.get(key, 0) + 1

    def reject(self, code: str) -> None:
        """Count a task that was not accepted."""
        self.rejected[code] = self.rejected.get(code, 0) + 1
