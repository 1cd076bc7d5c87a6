"""The life of a task: one table, `{(state, event): state}`.

Rule: nothing else assigns a state. Whoever changes a task's state calls `after(state, event)`; a
pair that is not in the table is our own bug and raises `AssertionError`, because events from the
network are checked (token, liveness) before they become events of a task. Terminal states have no
way out, but that an operator sends a quarantined task back to its queue (`released`) or gives it up
(`failed`).

The diagram in ARCHITECTURE.md is generated from this table by `mermaid()`, and a test compares.
"""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    """Where a task is; the values are wire values (contract §5)."""

    SCHEDULED = "scheduled"  # waits for a point in time: a delayed start or the backoff of a retry
    QUEUED = "queued"  # waits for a slot
    RUNNING = "running"  # an attempt has been handed to a worker
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"  # its run or its caller's deadline was too short
    EXPIRED = "expired"  # its deadline passed before it was ever dispatched
    QUARANTINED = "quarantined"  # it was running each time a worker died


class TaskEvent(StrEnum):
    """What happens to a task."""

    DUE = "due"
    DISPATCHED = "dispatched"
    REFUSED = "refused"  # the worker had no slot: back to its own place, no attempt spent
    LOST = "lost"  # the worker died and the task may run again
    RETRIED = "retried"  # the attempt failed and another one follows after a backoff
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"
    RELEASED = "released"
    ADOPTED = "adopted"  # after a restart a worker says that it is running this task


_S = TaskStatus
_E = TaskEvent

TRANSITIONS: dict[tuple[TaskStatus, TaskEvent], TaskStatus] = {
    (_S.SCHEDULED, _E.DUE): _S.QUEUED,
    (_S.SCHEDULED, _E.CANCELLED): _S.CANCELLED,
    (_S.SCHEDULED, _E.EXPIRED): _S.EXPIRED,
    (_S.SCHEDULED, _E.TIMED_OUT): _S.TIMED_OUT,
    (_S.SCHEDULED, _E.FAILED): _S.FAILED,
    (_S.SCHEDULED, _E.ADOPTED): _S.RUNNING,
    (_S.QUEUED, _E.DISPATCHED): _S.RUNNING,
    (_S.QUEUED, _E.ADOPTED): _S.RUNNING,
    (_S.QUEUED, _E.FAILED): _S.FAILED,
    (_S.QUEUED, _E.CANCELLED): _S.CANCELLED,
    (_S.QUEUED, _E.EXPIRED): _S.EXPIRED,
    (_S.QUEUED, _E.TIMED_OUT): _S.TIMED_OUT,
    (_S.RUNNING, _E.ADOPTED): _S.RUNNING,
    (_S.RUNNING, _E.REFUSED): _S.QUEUED,
    (_S.RUNNING, _E.LOST): _S.QUEUED,
    (_S.RUNNING, _E.RETRIED): _S.SCHEDULED,
    (_S.RUNNING, _E.SUCCEEDED): _S.SUCCEEDED,
    (_S.RUNNING, _E.FAILED): _S.FAILED,
    (_S.RUNNING, _E.CANCELLED): _S.CANCELLED,
    (_S.RUNNING, _E.TIMED_OUT): _S.TIMED_OUT,
    (_S.RUNNING, _E.QUARANTINED): _S.QUARANTINED,
    (_S.QUARANTINED, _E.RELEASED): _S.QUEUED,
    (_S.QUARANTINED, _E.FAILED): _S.FAILED,
}

TERMINAL: frozenset[TaskStatus] = frozenset(
    {_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.TIMED_OUT, _S.EXPIRED, _S.QUARANTINED}
)


def after(state: TaskStatus, event: TaskEvent) -> TaskStatus:
    """Return the state that follows.

    Raises:
        AssertionError: the table has no such transition; a bug of ours, never the network's.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise AssertionError(f"no transition from {state} by {event}") from None


def mermaid() -> str:
    """Return the table as a mermaid state diagram, one line a transition, in table order."""
    lines = ["stateDiagram-v2", "    [*] --> queued", "    [*] --> scheduled"]
    lines += [f"    {old} --> {new}: {event}" for (old, event), new in TRANSITIONS.items()]
    lines += [f"    {state} --> [*]" for state in TaskStatus if state in TERMINAL]
    return "\n".join(lines)


if __name__ == "__main__":
    print(mermaid())
