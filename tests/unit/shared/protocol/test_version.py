"""Which version two sides agree on."""

from __future__ import annotations

import pytest

from shared.protocol.messages import Hello
from shared.protocol.version import MIN_VERSION, VERSION, is_spoken, mismatch, negotiate


@pytest.mark.parametrize(
    ("highest", "lowest", "agreed"),
    [
        (VERSION, MIN_VERSION, VERSION),  # the same software
        (VERSION + 3, MIN_VERSION, VERSION),  # a newer balancer that still speaks ours
        (VERSION + 3, VERSION, VERSION),  # just
        (VERSION + 3, VERSION + 1, None),  # one that does not any more
        (MIN_VERSION - 1, 0, None),  # one that is too old
        (VERSION - 1, VERSION, None),  # nonsense: its highest is below its lowest
        (-5, -9, None),
    ],
)
def test_the_highest_common_version_is_chosen(
    highest: int, lowest: int, agreed: int | None
) -> None:
    """Both sides speak the newest version that both know, or none."""
    assert negotiate(Hello(highest, lowest, "b", "boot")) == agreed


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(VERSION, True), (MIN_VERSION, True), (VERSION + 1, False), (MIN_VERSION - 1, False)],
)
def test_only_versions_between_lowest_and_highest_are_spoken(version: int, spoken: bool) -> None:
    """A worker that chose something else is not understood."""
    assert is_spoken(version) is spoken


def test_a_mismatch_names_both_sides() -> None:
    """An operator sees which side to upgrade."""
    assert mismatch(Hello(9, 7, "b", "boot")) == (
        "no common protocol version: the balancer speaks 7 to 9, this worker 1"
    )
