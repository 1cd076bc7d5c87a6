"""Waiting for the end of a task: a call that is durable, `Prefer: wait=N`, `GET /tasks/{id}?wait=N`.

The end of a task that is held here comes from memory. Only what another balancer holds is looked at in
the store again and again.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING

from shared.edge.limits import MAX_POLL_S
from shared.errors import CallerError, Conflict, failure
from shared.task import Outcome
from shared.task_state import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.api.views import TaskViews
    from balancer.engine import Engine
    from shared.ids import TaskId
    from shared.task import TaskRecord

LOOK_S = 0.5  # between two looks at a task that another balancer holds
_SECONDS = re.compile(r"[0-9]{1,2}(\.[0-9]{1,6})?")


def read_wait(query: Mapping[str, str]) -> float:
    """Return the seconds that `?wait=` asks for.

    Raises:
        CallerError: they are none.
    """
    given = query.get("wait", "0")
    if _SECONDS.fullmatch(given) and float(given) <= MAX_POLL_S:
        return float(given)
    message = f"Invalid wait: expected a number of seconds from 0 to {MAX_POLL_S:.0f}"
    raise CallerError(message, failure=failure("invalid_field", message))


class Waiting:
    """Waits for ends, here and elsewhere.

    Args:
        engine: the tasks that are held here.
        views: all tasks.
    """

    def __init__(self, engine: Engine, views: TaskViews) -> None:
        self._engine = engine
        self._views = views

    async def outcome(self, task_id: TaskId, wait_s: float | None) -> Outcome | None:
        """Return how a task ended; None when the time is over or the process stops.

        Args:
            task_id: a task that was accepted.
            wait_s: longest wait; None for none.

        Raises:
            Conflict: its result is not kept any more.
        """
        if self._engine.holds(task_id):
            return await self._engine.waiters.wait(task_id, wait_s)
        record = await self._looked_at(task_id, wait_s)
        if record is None:
            text = "Idempotency-Key was used for a task whose result is not kept any more"
            raise Conflict(text, failure=failure("idempotency_conflict", text))
        if record.status not in TERMINAL:
            return None
        return Outcome(record.status, record.result, record.failure)

    async def record(self, task_id: TaskId, wait_s: float) -> TaskRecord | None:
        """Return a task once it has ended, or as it is when the time is over."""
        if not self._engine.holds(task_id):
            return await self._looked_at(task_id, wait_s)
        await self._engine.waiters.wait(task_id, wait_s)
        return await self._views.find(task_id)

    async def _looked_at(self, task_id: TaskId, wait_s: float | None) -> TaskRecord | None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + (math.inf if wait_s is None else wait_s)
        while True:
            record = await self._views.find(task_id)
            left_s = end_s - loop.time()
            if record is None or record.status in TERMINAL or left_s <= 0:
                return record
            await asyncio.sleep(min(LOOK_S, left_s))
