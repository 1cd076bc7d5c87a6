"""Durable tasks at the balancer's edge: the same acceptance behind both shells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shared.edge.answers import render_accepted, render_failure
from shared.errors import Failure

if TYPE_CHECKING:
    from balancer.engine import Engine
    from shared.edge.answers import Answer
    from shared.edge.headers import EdgeHeaders
    from shared.task import TaskRequest

AdmitWebhook = Callable[[str], Awaitable[Failure | None]]


class Acceptance:
    """Accepts durable tasks.

    Args:
        engine: where they go.
        admit_webhook: returns why a webhook may not be sent to a URL, or None.
    """

    def __init__(self, engine: Engine, admit_webhook: AdmitWebhook) -> None:
        self._engine = engine
        self._admit_webhook = admit_webhook

    async def answer(self, task: TaskRequest, headers: EdgeHeaders) -> Answer:
        """Commit a task and return the 202, or why it was not accepted."""
        if task.webhook is not None:
            refused = await self._admit_webhook(task.webhook.url)
            if refused is not None:
                return render_failure(refused, headers)
        live = await self._engine.accept(task)
        if isinstance(live, Failure):
            return render_failure(live, headers)
        return render_accepted(live.id, headers, task.mode)
