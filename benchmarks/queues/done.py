"""How a run of the task is told, whatever process it was in: a byte more in a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable

REDIS_URL = os.environ["REDIS_URL"]
_FILE = os.open(os.environ["DONE_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def hello(name: str) -> str:
    """Greet, and note it."""
    os.write(_FILE, b".")
    return f"Hello {name}"


def produce(send: Callable[[str], object], count: int) -> None:
    """Hand in so many tasks one after the other, as synchronous code does."""
    send("first")  # connects
    began_s = time.monotonic()
    for n in range(count):
        send(f"Andera-{n}")
    print(json.dumps({"began_s": began_s, "took_s": time.monotonic() - began_s}), flush=True)


async def produce_async(send: Callable[[str], Awaitable[object]], count: int, at_once: int) -> None:
    """Hand in so many tasks by concurrent callers."""
    import asyncio

    await send("first")
    names = iter(range(count))

    async def caller() -> None:
        for n in names:
            await send(f"Andera-{n}")

    began_s = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    print(json.dumps({"began_s": began_s, "took_s": time.monotonic() - began_s}), flush=True)
