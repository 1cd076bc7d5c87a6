"""Commands: what the scheduler tells its shell to do. The engine implements them; tests record them.

A command is a synchronous call. It must not raise, must not block and must not call back into the
scheduler before it returns (the engine defers what would).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from balancer.core.live_task import LiveTask
    from shared.ids import Token, WorkerId
    from shared.task import Outcome


class Commands(Protocol):
    """The outside of the scheduler."""

    def dispatch(self, worker: WorkerId, task: LiveTask) -> None:
        """Send the current attempt (`task.token`) of a task to a worker.

        The slot is reserved already. The shell must send exactly one dispatch for it, or answer with
        `Scheduler.undispatched`.
        """
        ...

    def cancel_attempt(self, worker: WorkerId, token: Token, reason: str) -> None:
        """Tell a worker to end an attempt whose result nobody wants any more."""
        ...

    def acknowledge(self, worker: WorkerId, token: Token) -> None:
        """Let a worker forget a result that was refused as superseded or belongs to no task here."""
        ...

    def changed(self, task: LiveTask, event: str, code: str = "") -> None:
        """Record that a task started, was requeued, is due later: for the store, the log, the view.

        Args:
            task: already in its new state.
            event: a `TaskEvent` value.
            code: why, when the event is a failure's consequence.
        """
        ...

    def resolve(self, task: LiveTask, outcome: Outcome) -> None:
        """End a task: tell its sink, and for a durable one commit result and outbox row.

        The core has forgotten the task when this is called.
        """
        ...

    def demand(self, worker: WorkerId, count: int, best_priority: float) -> None:
        """Tell a worker how much waits here for it; only called when that changed."""
        ...
