"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, tzinfo=UTC)


class ManualClock:
    """A `shared.clock.Clock` whose time only `advance` changes."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._start_s = now_s
        self._now_s = now_s

    def monotonic(self) -> float:
        """Return the seconds of the test."""
        return self._now_s

    def utc_now(self) -> datetime:
        """Return the wall clock of the test: `START` plus what has passed."""
        return START + timedelta(seconds=self._now_s - self._start_s)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds
