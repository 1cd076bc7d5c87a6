"""What is kept of everything that happens to tasks: counters, log lines, ended attempts, the last tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from balancer.core.counters import Counters
from balancer.store.ports import MAX_ATTEMPTS_KEPT, REFUSED
from balancer.store.recent import RecentTasks, WallClock, current_attempt
from shared.errors import CODES
from shared.log import Log
from shared.task import Mode
from shared.task_state import TaskEvent

if TYPE_CHECKING:
    from balancer.core.live_task import LiveTask
    from shared.clock import Clock
    from shared.errors import Failure
    from shared.log import TaskLog
    from shared.task import AttemptRecord, Outcome

_SYNC = Mode.SYNC


class Journal:
    """Keeps count and memory for the engine.

    Args:
        clock: the machine's.
        log: where task events go.

    Attributes:
        counters: what the metrics show.
        wall: turns monotonic seconds into wall clock times.
        recent: the last sync and stream tasks.
    """

    def __init__(self, clock: Clock, log: TaskLog) -> None:
        self.counters = Counters()
        self.wall = WallClock(clock.utc_now(), clock.monotonic())
        self.recent = RecentTasks(self.wall)
        self._log = log
        self._store_log = Log("store")
        self._store_out = False

    def accepted(self, task: LiveTask) -> None:
        """Note a task that was taken."""
        request = task.request
        # By identity: looking a member up by value costs more than all the rest here.
        mode = "webhook" if task.durable else "sync" if request.mode is _SYNC else "stream"
        self.counters.accepted[mode] += 1
        if self._log.detailed:
            self._log.accepted(task.id, task.lane, request.mode, request.correlation_id)

    def rejected(self, why: Failure, correlation_id: str) -> Failure:
        """Note a task that was not taken; returns the reason."""
        self.counters.reject(why.code)
        self._log.rejected(why.code, correlation_id)
        return why

    def started(self, task: LiveTask) -> None:
        """Note an attempt that begins."""
        if self._log.detailed:
            correlation = task.request.correlation_id
            self._log.started(task.id, task.lane, task.worker, task.number, correlation)

    def changed(self, task: LiveTask, event: str, code: str, now_s: float) -> AttemptRecord | None:
        """Note what happened to a task that goes on; returns the attempt that ended with it."""
        self._log.changed(task.id, task.lane, event, code, task.request.correlation_id)
        if event == TaskEvent.LOST:
            self.counters.lost += 1
            return self._remembered(task, "lost", code, now_s)
        if event == TaskEvent.RETRIED:
            self.counters.retries += 1
            return self._remembered(task, "failed", code, now_s)
        if event == TaskEvent.REFUSED:
            return self._ended(task, REFUSED, code, now_s)
        return None

    def ended(self, task: LiveTask, outcome: Outcome, now_s: float) -> None:
        """Note how a task ended, and who ran it last."""
        outcome.worker = task.worker
        outcome.attempts = task.number
        code = outcome.failure.code if outcome.failure else "ok"
        counters = self.counters
        # Codes come from workers too: one that this version does not know must not be a label of its own.
        counters.end(task.lane, code if code == "ok" or code in CODES else "other")
        if task.started_s is not None:
            counters.wait_s += task.started_s - task.created_s
            counters.run_s += now_s - task.started_s
        self._log.ended(
            task.id, task.lane, outcome.status, code, now_s - task.created_s,
            task.request.correlation_id, now_s,
        )  # fmt: skip

    def store_failed(self, task: LiveTask, error: Exception) -> None:
        """Note that the store did not do what a task needs; an outage is logged once."""
        if not self._store_out:
            self._store_out = True
            reason = str(error) or type(error).__name__
            self._store_log.event("store.unavailable", reason=reason, task_id=task.id)

    def store_works(self) -> None:
        """Note that the store did what a task needs."""
        if self._store_out:
            self._store_out = False
            self._store_log.event("store.restored")

    def _remembered(
        self, task: LiveTask, outcome: str, code: str, now_s: float
    ) -> AttemptRecord | None:
        ended = self._ended(task, outcome, code, now_s)
        if ended is not None:
            task.history = [*(task.history or []), ended][-MAX_ATTEMPTS_KEPT:]
        return ended

    def _ended(self, task: LiveTask, outcome: str, code: str, now_s: float) -> AttemptRecord | None:
        attempt = current_attempt(task, self.wall)
        if attempt is None:
            return None
        at = self.wall.at(now_s)
        return replace(attempt, finished_at=at, outcome=outcome, code=code or None)
