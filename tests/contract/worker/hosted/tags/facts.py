"""The tags of the observed Andera worker."""

from __future__ import annotations


async def tags() -> dict[str, object]:
    """Tell the same facts."""
    return {"model": "m1", "version": 3}
