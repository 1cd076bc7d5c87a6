"""The functions of the observed Andera worker, written for ours: same names, same behaviour."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from worker import Context, function


@function
async def hello(
    name: Annotated[str, Field(min_length=2, max_length=20)] = "World",
) -> dict[str, str]:
    """Greets someone."""
    return {"message": f"Hello {name}!"}


@function
async def fail() -> None:
    """Raises."""
    raise RuntimeError("boom")


@function(timeout_s=0.2)
async def short() -> None:
    """Takes longer than it may."""
    await asyncio.Event().wait()


@function
async def slow(ms: float) -> dict[str, float]:
    """Sleeps."""
    await asyncio.sleep(ms / 1000)
    return {"slept": ms}


@function
async def undef() -> None:
    """Returns nothing."""


@function(streaming=True)
async def streamy(*, ctx: Context) -> None:
    """Streams two pieces."""
    await ctx.stream("Hello ")
    await ctx.stream("World!\n")


@function(streaming=True)
async def streamfail(*, ctx: Context) -> None:
    """Streams one piece and raises."""
    await ctx.stream("part1\n")
    raise RuntimeError("mid")
