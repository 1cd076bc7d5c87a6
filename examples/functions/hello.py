"""The smallest functions: one answers, one streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cabrank import function

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@function(timeout_s=5, idempotent=True)
async def hello(
    name: Annotated[str, Field(min_length=1, max_length=100)] = "World",
) -> dict[str, str]:
    """Greet someone."""
    return {"message": f"Hello {name}!"}


@function(timeout_s=30)
async def hello_stream(
    name: Annotated[str, Field(min_length=1, max_length=100)] = "World",
    times: Annotated[int, Field(ge=1, le=1000)] = 3,
) -> AsyncIterator[str]:
    """Greet someone several times, a line a piece."""
    for n in range(1, times + 1):
        yield f"Hello {name}, {n} of {times}!\n"
