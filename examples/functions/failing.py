"""Fail on purpose: for trying errors and retries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cabrank import Context, function

_ERRORS: dict[str, type[Exception]] = {
    "ValueError": ValueError,
    "RuntimeError": RuntimeError,
    "TimeoutError": TimeoutError,
}


@function(timeout_s=5)
async def fail(
    message: Annotated[str, Field(max_length=1000)] = "boom",
    error: Literal["ValueError", "RuntimeError", "TimeoutError"] = "RuntimeError",
) -> None:
    """Raise an error with the given message."""
    raise _ERRORS[error](message)


@function(timeout_s=5, max_retries=3, retry_delay_s=0.2)
async def flaky(
    failures: Annotated[int, Field(ge=0, le=10)] = 2, *, ctx: Context
) -> dict[str, int]:
    """Fail the first attempts, then succeed; three retries are allowed."""
    if ctx.attempt <= failures:
        raise RuntimeError(f"attempt {ctx.attempt} fails, as asked")
    return {"attempt": ctx.attempt}
