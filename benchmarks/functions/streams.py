"""Streams that the benchmarks read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from cabrank import function


@function(streaming=True, timeout_s=120)
async def pieces(count: int, name: str) -> AsyncIterator[str]:
    """Yield numbered pieces, a loop turn apart."""
    for n in range(count):
        yield f"{name} piece {n:06d} of a stream\n"
        await asyncio.sleep(0)


@function(streaming=True, timeout_s=600)
async def quiet() -> AsyncIterator[str]:
    """Yield one piece, then stay open until the caller leaves."""
    yield "open\n"
    await asyncio.Event().wait()
