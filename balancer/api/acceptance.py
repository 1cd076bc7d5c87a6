"""Durable tasks at the balancer's edge: the same acceptance behind both shells.

What a caller is told depends on how it asked:

    webhook                               202, once the task is committed
    Prefer: respond-async[, wait=N]       the same, or the result when it is there within N seconds
    sync with an Idempotency-Key          the result, as of any call; the task goes on without its caller
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from balancer.delivery.fingerprint import fingerprint
from balancer.delivery.once import Named, Taken
from shared.edge.answers import render_accepted, render_failure, render_outcome
from shared.edge.headers import async_wait_s, key_of
from shared.errors import Failure, failure
from shared.task import Mode

if TYPE_CHECKING:
    from balancer.api.waiting import Waiting
    from balancer.core.live_task import LiveTask
    from balancer.delivery.once import KeyOf, Once
    from balancer.engine import Engine
    from shared.edge.answers import Answer
    from shared.edge.headers import EdgeHeaders
    from shared.task import TaskRequest

AdmitWebhook = Callable[[str], Awaitable[Failure | None]]

LB_OWNER = "lb"  # whoever has LB_AUTH_KEY
AT_ONCE = (
    16 * 1024
)  # bytes of input whose fingerprint is taken on the loop: well under a millisecond
_NO_STREAM = failure("invalid_field", "Invalid Idempotency-Key: not supported for mode stream yet")
_STOPPING = failure("shutting_down", "Process is shutting down; the task goes on", retry_after_s=1)


class Acceptance:
    """Accepts durable tasks.

    Args:
        engine: where they go.
        once: finds the tasks that callers named.
        waiting: waits for their ends.
        admit_webhook: returns why a webhook may not be sent to a URL, or None.
    """

    def __init__(
        self, engine: Engine, once: Once, waiting: Waiting, admit_webhook: AdmitWebhook
    ) -> None:
        self._engine = engine
        self._once = once
        self._waiting = waiting
        self._admit_webhook = admit_webhook

    async def answer(
        self, task: TaskRequest, headers: EdgeHeaders, owner: str = LB_OWNER
    ) -> Answer:
        """Commit a task, or find the one of its key, and answer as its caller wishes.

        Raises:
            CabrankError: such as QueueFull, when too many callers wait.
        """
        key = key_of(headers)
        if key is not None and task.mode is Mode.STREAM:
            key = _NO_STREAM
        if isinstance(key, Failure):
            return render_failure(key, headers)
        wait_s = 0.0 if task.mode is Mode.WEBHOOK else async_wait_s(headers.prefer)
        call = wait_s is None
        with nullcontext() if wait_s == 0 else self._engine.waiters.seat(call=call):
            taken = await self._taken(task, key, owner, call=call)
            if isinstance(taken, Failure):
                return render_failure(taken, headers)
            outcome = None
            if wait_s != 0:
                outcome = await self._waiting.outcome(taken.task_id, wait_s)
        if outcome is not None:
            answer = render_outcome(outcome, taken.task_id, headers)
        elif call:
            answer = render_failure(_STOPPING, headers, taken.task_id)
        else:
            answer = render_accepted(taken.task_id, headers, task.mode)
            _add(answer, "Preference-Applied", _applied(task.mode, wait_s))
        _add(answer, "Idempotency-Replayed", "true" if taken.replayed else "")
        return answer

    async def _taken(
        self, task: TaskRequest, key: str | None, owner: str, *, call: bool
    ) -> Taken | Failure:
        if key is None:
            live = await self._accepted(task, None, call=call)
            return live if isinstance(live, Failure) else Taken(live.id)
        asked = task.input
        print_ = (
            fingerprint(task)
            if len(asked) <= AT_ONCE
            else await asyncio.to_thread(fingerprint, task)
        )
        return await self._once.task(
            Named(owner, key, print_), lambda key_of: self._accepted(task, key_of, call=call)
        )

    async def _accepted(
        self, task: TaskRequest, key_of: KeyOf | None, *, call: bool
    ) -> LiveTask | Failure:
        if task.webhook is not None:
            refused = await self._admit_webhook(task.webhook.url)
            if refused is not None:
                return refused
        return await self._engine.accept(task, key_of=key_of, call=call)


def _applied(mode: Mode, wait_s: float | None) -> str:
    """Return which preferences a 202 has followed (RFC 7240)."""
    if mode is Mode.WEBHOOK:
        return ""
    return f"respond-async, wait={wait_s:.0f}" if wait_s else "respond-async"


def _add(answer: Answer, name: str, value: str) -> None:
    """Add a header, unless it says nothing."""
    if value:
        answer.headers = (*answer.headers, (name, value))
