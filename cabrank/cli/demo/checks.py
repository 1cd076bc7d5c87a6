"""What the demo promises, checked one by one; `--exit` ends with 0 only when all of it held."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and whether it held.

    Attributes:
        promise: what should be so.
        held: whether it is.
        seen: what was seen, for the one who reads.
    """

    promise: str
    held: bool
    seen: str
