"""Callers that wait for the end of a task that does not depend on them: durable calls and long polls.

A waiting caller is one future and, when its wait has an end, one timer. Both are gone with the caller,
and all of them when the process stops.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.errors import QueueFull, failure

if TYPE_CHECKING:
    from collections.abc import Generator

    from shared.ids import TaskId
    from shared.task import Outcome

# As many as one lane may have calls in memory: a future, a timer and a socket each.
MAX_WAITERS = 10_000
RETRY_AFTER_S = 5.0


class Waiters:
    """Who waits for which task.

    Args:
        limit: callers at once.

    Attributes:
        by_task: the futures of those that wait, never an empty list; whoever ends a task looks here
            first, so that tasks that nobody waits for cost nothing.
        calls: callers that have a seat until their task ends: the drain waits for them.
    """

    def __init__(self, limit: int = MAX_WAITERS) -> None:
        self.by_task: dict[TaskId, list[asyncio.Future[Outcome | None]]] = {}
        self.calls = 0
        self._limit = limit
        self._seats = 0
        self._closed = False

    def __len__(self) -> int:
        return self._seats

    @contextmanager
    def seat(self, *, call: bool = False) -> Generator[None]:
        """Have a place to wait in; taken before a task is accepted, so that its caller surely can.

        Args:
            call: its caller waits until the end of the task.

        Raises:
            QueueFull: too many wait.
        """
        if self._seats >= self._limit:
            text = "Too many callers wait for tasks"
            raise QueueFull(failure=failure("queue_full", text, retry_after_s=RETRY_AFTER_S))
        self._seats += 1
        self.calls += call
        try:
            yield
        finally:
            self._seats -= 1
            self.calls -= call

    async def wait(self, task_id: TaskId, wait_s: float | None) -> Outcome | None:
        """Return how a task that is held here ends; None when the time is over or the process stops.

        Args:
            task_id: the task.
            wait_s: longest wait; None for none.
        """
        if self._closed:
            return None
        told: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        waiting = self.by_task.setdefault(task_id, [])
        waiting.append(told)
        try:
            async with asyncio.timeout(wait_s):
                return await told
        except TimeoutError:
            return None
        finally:
            waiting.remove(told)
            if not waiting and self.by_task.get(task_id) is waiting:
                del self.by_task[task_id]

    def ended(self, task_id: TaskId, outcome: Outcome) -> None:
        """Tell those that wait for a task how it ended."""
        self._tell(self.by_task.get(task_id, ()), outcome)

    def close(self) -> None:
        """Let everybody go, and nobody wait again: the process stops."""
        self._closed = True
        for waiting in self.by_task.values():
            self._tell(waiting, None)

    def _tell(
        self, waiting: list[asyncio.Future[Outcome | None]] | tuple[()], end: Outcome | None
    ) -> None:
        for told in waiting:
            if not told.done():
                told.set_result(end)
