"""What the benchmarks call."""

from __future__ import annotations

from cabrank import function


@function
async def hello(name: str) -> str:
    """Greet: the smallest task that still proves that its input arrived."""
    return f"Hello {name}"


@function(timeout_s=60)
async def echo(text: str) -> str:
    """Give back what came, however large."""
    return text
