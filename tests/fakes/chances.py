"""Chance that is none."""

from __future__ import annotations


class Always:
    """A `shared.clock.Chance` that always draws the same."""

    def __init__(self, drawn: float) -> None:
        self._drawn = drawn

    def random(self) -> float:
        """Return what was given."""
        return self._drawn
