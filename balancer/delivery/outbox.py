"""From an outcome to the webhook that tells it: the outbox row of a finished task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.store.ports import OutboxRow
from shared.task_state import TaskStatus
from shared.webhooks import body_of, outcome_word

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.core.live_task import LiveTask
    from shared.task import Outcome


def outbox_row(task: LiveTask, outcome: Outcome, finished_at: datetime) -> OutboxRow | None:
    """Return the webhook of a task's end, due at once; None for a task without one.

    Its id is made from the task's, so that it is the same however often the commit is tried. A task that
    is released from quarantine ends once more: that is another message, and receivers forget a message
    whose id they know, so the one of the quarantine has an id of its own.
    """
    target = task.request.webhook
    if target is None:
        return None
    body = body_of(
        outcome,
        task_id=task.id,
        envelope=target.envelope,
        metadata=task.request.metadata,
        finished_at=finished_at,
    )
    quarantined = outcome.status is TaskStatus.QUARANTINED
    return OutboxRow(
        webhook_id=f"msg_q{task.number}_{task.id}" if quarantined else f"msg_{task.id}",
        task_id=task.id,
        url=target.url,
        headers=target.headers,
        body=body,
        outcome=outcome_word(outcome.status),
        next_at=finished_at,
        correlation_id=task.request.correlation_id,
    )
