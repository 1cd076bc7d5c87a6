"""Take time and do nothing: for trying priorities, drains, time-outs and cancellation."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from cabrank import Context, function

_STEP_S = 0.1  # how often it tells its progress


@function(timeout_s=600, idempotent=True)
async def slow(
    seconds: Annotated[float, Field(ge=0, le=300)] = 1.0, label: str = "", *, ctx: Context
) -> dict[str, object]:
    """Sleep for some seconds, telling the progress; a cancelled call ends at once."""
    slept = 0.0
    while slept < seconds:
        step = min(_STEP_S, seconds - slept)
        await asyncio.sleep(step)
        slept += step
        ctx.progress(slept, seconds, label or None)
    ctx.log.info("slept", seconds=seconds, label=label)
    return {"slept": seconds, "label": label}
