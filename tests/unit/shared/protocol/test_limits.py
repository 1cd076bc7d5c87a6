"""The limits: both ends count on the same numbers, and the numbers fit each other."""

from __future__ import annotations

from shared.protocol import limits

MIB = 1024 * 1024


def test_the_limits_are_part_of_the_protocol() -> None:
    """A peer of an earlier release relies on them: a smaller one breaks its links."""
    assert {name: value for name, value in vars(limits).items() if name.isupper()} == {
        "PART_BYTES": 64 * 1024,
        "FRAME_BYTES": 256 * 1024,
        "MAX_FRAME": 4 * MIB,
        "MAX_MESSAGES": 4096,
        "BATCH_MESSAGES": 4000,
        "MAX_BODY": 64 * MIB,
        "MAX_BODIES": 64,
        "MAX_BODIES_BYTES": 128 * MIB,
        "MAX_HALVES": 128,
        "MAX_HALVES_BYTES": 192 * MIB,
        "MAX_AWAITED": 10_000,
        "MAX_BACKLOG": 200_000,
        "MAX_UNKNOWN_KINDS": 64,
        "MAX_TEXT": 16 * 1024,
    }


def test_what_is_cut_stays_below_what_is_let_through() -> None:
    """A frame with its part fits WebSocket libraries, a batch fits a frame, bodies fit their reader."""
    assert limits.FRAME_BYTES + 3 * limits.PART_BYTES < MIB < limits.MAX_FRAME
    assert limits.BATCH_MESSAGES < limits.MAX_MESSAGES
    assert limits.MAX_BODY < limits.MAX_BODIES_BYTES < limits.MAX_HALVES_BYTES
    assert limits.MAX_BODIES < limits.MAX_HALVES
