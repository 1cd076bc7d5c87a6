"""What follows an attempt that failed, and one that was lost: decisions as values.

An attempt that its function failed is *spent*; the task gets another while it has some, after a
backoff. An attempt whose worker was lost is not spent: it says nothing about the function. But a task
under which worker after worker dies is set aside. A stream that has shown a piece to its caller is
never run again, because the caller would see the piece twice.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from shared.retry import Backoff, RetryDecision, decide

if TYPE_CHECKING:
    from balancer.core.live_task import LiveTask
    from balancer.core.settings import Settings
    from shared.capability import FunctionSpec
    from shared.clock import Chance

DEFAULT_DELAY_S = 1.0  # base of the backoff of a function that nobody hosts any more


class AfterLoss(Enum):
    """What becomes of a task whose worker was lost."""

    REQUEUE = auto()
    QUARANTINE = auto()
    FAIL = auto()


def attempts_allowed(task: LiveTask, spec: FunctionSpec | None, settings: Settings) -> int:
    """Return how many attempts a task has in all: its own wish, else its function's, capped."""
    wished = task.request.max_attempts
    if wished is None:
        wished = 1 if spec is None else spec.max_retries + 1
    return max(1, min(wished, settings.task_attempts))


def after_failure(
    task: LiveTask,
    code: str,
    spec: FunctionSpec | None,
    settings: Settings,
    chance: Chance,
    now_s: float,
) -> RetryDecision:
    """Decide whether a failed attempt, which is counted already, is followed by another."""
    if shown(task):
        return RetryDecision(again=False, reason="the caller has seen a part of it")
    base_s = DEFAULT_DELAY_S if spec is None else max(spec.retry_delay_s, 0.0)
    decision = decide(
        code=code,
        retry_on=task.request.retry_on,
        attempts=task.attempts,
        max_attempts=task.max_attempts,
        backoff=Backoff(base_s=base_s, cap_s=settings.retry_cap_s),
        chance=chance,
    )
    if (
        decision.again
        and task.deadline_s is not None
        and now_s + decision.wait_s >= task.deadline_s
    ):
        return RetryDecision(again=False, reason="its deadline comes before another attempt could")
    return decision


def after_loss(task: LiveTask, spec: FunctionSpec | None, settings: Settings) -> AfterLoss:
    """Decide what becomes of a task whose worker was lost; the death is counted already."""
    again = task.durable or (spec is not None and spec.idempotent)
    if shown(task) or not again:
        return AfterLoss.FAIL
    if task.deaths < settings.deaths_before_quarantine:
        return AfterLoss.REQUEUE
    return AfterLoss.QUARANTINE if task.durable else AfterLoss.FAIL


def shown(task: LiveTask) -> bool:
    """Tell whether its caller has seen a piece of it."""
    return task.streams and task.pieces > 0
