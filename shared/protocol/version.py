"""Versions of the link protocol: which are spoken here, and which one two sides agree on.

Compatibility within a version is by the rules of `messages.py` (fields are added at the end, unknown
kinds are answered). The number goes up only when an old reader would do something wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.protocol.messages import Hello

VERSION = 1  # the highest that is spoken here
MIN_VERSION = 1  # the lowest


def negotiate(hello: Hello) -> int | None:
    """Return the highest version that both sides speak, or None when there is none."""
    version = min(hello.version, VERSION)
    return version if version >= max(hello.min_version, MIN_VERSION) else None


def is_spoken(version: int) -> bool:
    """Tell whether a version that the worker chose is one that is spoken here."""
    return MIN_VERSION <= version <= VERSION


def mismatch(hello: Hello) -> str:
    """Say for a person why nothing was agreed on."""
    return (
        f"no common protocol version: the balancer speaks {_span(hello.min_version, hello.version)}, "
        f"this worker {_span(MIN_VERSION, VERSION)}"
    )


def _span(lowest: int, highest: int) -> str:
    return str(highest) if lowest == highest else f"{lowest} to {highest}"
