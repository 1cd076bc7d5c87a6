"""The smallest functions: one answers, and may be watched at it; one streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cabrank import Context, function

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@function(timeout_s=5, idempotent=True, streaming=True)
async def hello(
    name: Annotated[str, Field(min_length=1, max_length=100)] = "World", *, ctx: Context
) -> dict[str, str]:
    """Greet someone; whoever streams it hears the greeting, everybody else gets it."""
    message = f"Hello {name}!"
    await ctx.stream(f"{message}\n")
    return {"message": message}


@function(timeout_s=30)
async def hello_stream(
    name: Annotated[str, Field(min_length=1, max_length=100)] = "World",
    times: Annotated[int, Field(ge=1, le=1000)] = 3,
) -> AsyncIterator[str]:
    """Greet someone several times, a line a piece."""
    for n in range(1, times + 1):
        yield f"Hello {name}, {n} of {times}!\n"
