"""The kinds of dead letters: what nobody will do any more unless an operator says so."""

from __future__ import annotations

from enum import StrEnum

from shared.task_state import TaskStatus


class DeadKind(StrEnum):
    """Why a letter is dead; the values are wire values."""

    TASK = (
        "task"  # a durable task that failed, timed out or expired: a replay runs it as a new task
    )
    WEBHOOK = "webhook"  # a webhook that ran out of tries: a replay sends it again
    QUARANTINE = (
        "quarantine"  # a task under which workers died; it has not ended: it can be released
    )


# Kinds that retention forgets in the end; what has not ended waits for a person.
ENDED_KINDS = (DeadKind.TASK, DeadKind.WEBHOOK)

_KIND_OF_STATUS = {
    TaskStatus.FAILED: DeadKind.TASK,
    TaskStatus.TIMED_OUT: DeadKind.TASK,
    TaskStatus.EXPIRED: DeadKind.TASK,
    TaskStatus.QUARANTINED: DeadKind.QUARANTINE,
}


def dead_kind(status: TaskStatus) -> DeadKind | None:
    """Return the kind of letter that a durable task's end makes; None when it makes none."""
    return _KIND_OF_STATUS.get(status)
