"""Waits for what another task, thread or process will make true, without guessing how long it takes.

The one place of the tests that sleeps: a poll that ends as soon as the predicate holds, and that fails
with what it saw last instead of a bare time-out.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_INTERVAL_S = 0.01


async def wait_until(
    predicate: Callable[[], T | Awaitable[T]],
    description: str,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    interval_s: float = DEFAULT_INTERVAL_S,
) -> T:
    """Return the predicate's first truthy value; fail with what was awaited and what was seen.

    The time is the running loop's, so that a test on a virtual-time loop waits in virtual time.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        answer = predicate()
        seen = cast("T", await answer if inspect.isawaitable(answer) else answer)
        if seen:
            return seen
        if loop.time() >= deadline_s:
            raise AssertionError(_failure(description, timeout_s, seen))
        await asyncio.sleep(interval_s)


def wait_until_sync(
    predicate: Callable[[], T],
    description: str,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    interval_s: float = DEFAULT_INTERVAL_S,
) -> T:
    """Do what `wait_until` does, for tests without a loop."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        seen = predicate()
        if seen:
            return seen
        if time.monotonic() >= deadline_s:
            raise AssertionError(_failure(description, timeout_s, seen))
        time.sleep(interval_s)


def _failure(description: str, timeout_s: float, seen: object) -> str:
    return f"waited {timeout_s:g} s in vain until {description}; the last look saw {seen!r}"
