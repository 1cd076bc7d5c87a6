"""Finds the asyncio tasks that a test started and left running."""

from __future__ import annotations

import asyncio
from typing import Any

# A cancelled or closing task needs a few turns of the loop to end; one that needs more waits for something.
GRACE_TURNS = 10

AnyTask = asyncio.Task[Any]


async def leaked_tasks(before: set[AnyTask]) -> list[AnyTask]:
    """Return the tasks that run now, were not in `before` and do not end within a few turns."""
    for _ in range(GRACE_TURNS):
        if not _new_tasks(before):
            return []
        await asyncio.sleep(0)
    return sorted(_new_tasks(before), key=lambda task: task.get_name())


async def end_tasks(tasks: list[AnyTask]) -> None:
    """Cancel the tasks and wait for them, so that one leak fails one test only."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _new_tasks(before: set[AnyTask]) -> set[AnyTask]:
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() - before if task is not current}
