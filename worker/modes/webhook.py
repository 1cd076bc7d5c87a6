"""Mode webhook on a worker that was asked directly: the function runs, then its hook is told.

No slot is held while the hook is tried: the slot is free as soon as the code has ended. A caller
that leaves changes nothing; the task goes on and its hook is told. A function that fails is told to
the hook too (contract §2), in an envelope, and the caller gets the function's failure. What never
ran (a parameter is invalid, the queue is full) is told to the caller only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from shared.client.webhook_sender import Delivered, Refused
from shared.edge.codec import render_failure, render_outcome
from shared.errors import Failure, failure
from shared.log import Log
from shared.retry import RetryDecision
from shared.task import Mode
from shared.webhooks import body_of, failure_text, next_try, outcome_word
from worker.modes.sync import call

if TYPE_CHECKING:
    from shared.client.webhook_sender import WebhookSender
    from shared.clock import Chance, Clock
    from shared.edge.codec import Answer, EdgeHeaders
    from shared.ids import TaskId
    from shared.task import Outcome, TaskRequest, WebhookTarget
    from shared.webhooks import WebhookPolicy
    from worker.engine import WorkerEngine

_NEVER_RAN = frozenset({"invalid_params", "invalid_input", "invalid_json"})
_FULL_RETRY_AFTER_S = 1.0

log = Log("webhook")


class HookCounts:
    """Direct webhook tasks, counted.

    Attributes:
        delivered: hooks that answered 2xx.
        failed: hooks that were given up.
        tries: calls made.
        pending: tasks under way, from acceptance to the end of their delivery.
    """

    __slots__ = ("delivered", "failed", "pending", "tries")

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self.tries = 0
        self.pending = 0


class WebhookMode:
    """Runs direct webhook tasks and delivers their hooks.

    Args:
        engine: runs the functions.
        sender: makes one try.
        policy: how many tries, how far apart.
        clock: tells when a task finished.
        chance: jitter between tries.
        limit: tasks that may be under way; their results wait in memory.
    """

    def __init__(
        self,
        engine: WorkerEngine,
        sender: WebhookSender,
        policy: WebhookPolicy,
        *,
        clock: Clock,
        chance: Chance,
        limit: int,
    ) -> None:
        self.counts = HookCounts()
        self._engine = engine
        self._sender = sender
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._limit = limit
        self._running: set[asyncio.Task[Answer]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def answer(self, request: TaskRequest, task_id: TaskId, headers: EdgeHeaders) -> Answer:
        """Run a task, deliver its hook and return the answer to the caller, who may leave."""
        target = request.webhook
        assert target is not None, "the codec demands a webhook in mode webhook"
        refused = await self._sender.refusal(target.url)
        if refused is not None:
            refusal = failure("invalid_webhook", f"Invalid webhook.url: {refused}")
            return render_failure(refusal, headers)
        if len(self._running) >= self._limit:
            refusal = failure("queue_full", retry_after_s=_FULL_RETRY_AFTER_S)
            return render_failure(refusal, headers)
        running = asyncio.create_task(
            self._run(request, target, task_id, headers), name=f"webhook-{task_id}"
        )
        self._running.add(running)
        self._idle.clear()
        self.counts.pending += 1
        running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until every hook was delivered or given up; False when one is not by then."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Give up what is under way, and the connections."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._sender.close()

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._running.discard(task)
        self.counts.pending -= 1
        if not self._running:
            self._idle.set()

    async def _run(
        self, request: TaskRequest, target: WebhookTarget, task_id: TaskId, headers: EdgeHeaders
    ) -> Answer:
        end = await call(self._engine, request, task_id)
        if isinstance(end, Failure):
            return render_failure(end, headers)
        if end.failure is not None and end.failure.code in _NEVER_RAN:
            return render_outcome(end, task_id, headers)
        undelivered = await self._deliver(request, target, task_id, end)
        if undelivered is not None and end.ok:
            return render_failure(undelivered, headers, task_id)
        return render_outcome(end, task_id, headers, Mode.WEBHOOK)

    async def _deliver(
        self, request: TaskRequest, target: WebhookTarget, task_id: TaskId, end: Outcome
    ) -> Failure | None:
        """Try the hook until it answers 2xx or is given up; return why it was given up."""
        body = body_of(
            end,
            task_id=task_id,
            envelope=target.envelope,
            metadata=request.metadata,
            finished_at=self._clock.utc_now(),
        )
        hook = _Hook(f"msg_{task_id}", task_id, target, body, outcome_word(end.status))
        tries = 1
        while True:
            decision = await self._try(hook, tries, request.correlation_id)
            if not decision.again:
                break
            tries += 1
            await asyncio.sleep(decision.wait_s)
        if not decision.reason:
            return None
        return failure("webhook_failed", f"Failed to send webhook: {decision.reason}")

    async def _try(self, hook: _Hook, tries: int, correlation_id: str) -> RetryDecision:
        """Try once; the decision has a reason when the hook is given up."""
        self.counts.tries += 1
        sent = await self._sender.send(
            webhook_id=hook.webhook_id,
            url=hook.target.url,
            body=hook.body,
            outcome=hook.outcome,
            headers=hook.target.headers,
            correlation_id=correlation_id,
        )
        seen = {"task_id": hook.task_id, "webhook_id": hook.webhook_id, "attempt": tries}
        if isinstance(sent, Delivered):
            self.counts.delivered += 1
            log.event("webhook.delivered", **seen)
            return RetryDecision(again=False)
        decision = RetryDecision(again=False)
        if isinstance(sent, Refused):
            reason = sent.reason
        else:
            reason = failure_text(tries, sent.error)
            decision = next_try(
                self._policy,
                tries=tries,
                status=sent.status,
                retry_after_s=sent.retry_after_s,
                chance=self._chance,
            )
        if decision.again:
            log.event("webhook.postponed", **seen, reason=reason)
            return decision
        self.counts.failed += 1
        log.event("webhook.dead_lettered", **seen, reason=reason)
        return RetryDecision(again=False, reason=reason)


class _Hook(NamedTuple):
    """One webhook to deliver: the same bytes under the same id at every try."""

    webhook_id: str
    task_id: TaskId
    target: WebhookTarget
    body: bytes
    outcome: str
