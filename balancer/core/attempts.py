"""Attempts: how each one ends, and what that means for its task.

An attempt is current exactly while its token stands in `running` of its worker. Whatever arrives
under another token is superseded and refused (fencing, DESIGN §5). A task keeps `token`, `worker` and
`started_s` of its last attempt until `changed` or `resolve` has told of its end.

No method dispatches: what gives a task back to its queue leaves its pool unsettled, so that all tasks
are back in their places before the first slot is given away. The caller settles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.retries import AfterLoss, after_failure, after_loss, attempts_allowed
from shared.errors import CODES, Failure, failure
from shared.task import Outcome
from shared.task_state import TaskEvent, TaskStatus

if TYPE_CHECKING:
    from balancer.core.backlog import Backlog
    from balancer.core.commands import Commands
    from balancer.core.directory import Directory
    from balancer.core.dispatcher import Dispatcher
    from balancer.core.events import Held
    from balancer.core.live_task import LiveTask
    from balancer.core.live_worker import LiveWorker
    from balancer.core.settings import Settings
    from shared.clock import Chance
    from shared.ids import Token, WorkerId

# Refusals that say "not here, not now"; all others say that the task cannot run.
NOT_NOW = frozenset({"maintenance", "no_slot", "queue_full", "shutting_down"})
# Failures that say that the worker, not the function, ended the attempt.
LOSSES = frozenset({"worker_lost", "shutting_down"})

_SUCCEEDED = TaskStatus.SUCCEEDED
_RUNNING = TaskStatus.RUNNING
_HAS_SUCCEEDED = TaskEvent.SUCCEEDED


class Attempts:
    """Ends attempts and tasks.

    Args:
        workers: every known worker; shared with the fleet.
        backlog, directory, dispatcher: the tasks, the lanes, the ranking.
        commands: where ends are told.
        settings: limits of retries.
        chance: jitter of the backoff.
    """

    __slots__ = (
        "_backlog",
        "_chance",
        "_commands",
        "_directory",
        "_dispatcher",
        "_settings",
        "_workers",
    )

    def __init__(
        self,
        workers: dict[WorkerId, LiveWorker],
        backlog: Backlog,
        directory: Directory,
        dispatcher: Dispatcher,
        commands: Commands,
        settings: Settings,
        chance: Chance,
    ) -> None:
        self._workers = workers
        self._backlog = backlog
        self._directory = directory
        self._dispatcher = dispatcher
        self._commands = commands
        self._settings = settings
        self._chance = chance

    # What workers say

    def finished(self, worker: LiveWorker, token: Token, outcome: Outcome, now_s: float) -> bool:
        """End an attempt; False when it is not current (or was never sent, so cannot have ended)."""
        task = worker.running.get(token)
        if task is None or token in worker.loading:
            return False
        del worker.running[token]
        worker.refusals = 0
        worker.ledger.ended()
        if outcome.status is _SUCCEEDED:
            task.attempts += 1
            self._resolve(task, _HAS_SUCCEEDED, outcome)
        else:
            self._ended_badly(task, outcome, now_s)
        return True

    def refused(self, worker: LiveWorker, token: Token, code: str, message: str) -> None:
        """Take an attempt back that its worker did not begin; no attempt is spent."""
        task = worker.running.get(token)
        if task is None or token in worker.loading:
            return
        del worker.running[token]
        worker.ledger.ended()
        if code in NOT_NOW:
            task.number -= 1
            self._requeue(task, TaskEvent.REFUSED, code)
        else:
            known = code if code in CODES else "internal_error"
            self.fail(task, Failure(known, message or CODES[known].message))

    def undispatched(self, worker: LiveWorker, token: Token) -> None:
        """Take an attempt back that could not be sent."""
        task = worker.running.pop(token, None)
        if task is None:
            return
        if token in worker.loading:
            worker.loading.discard(token)
            worker.ledger.unload()
        else:
            worker.ledger.untake()
            worker.ledger.shut()
        self._give_back(task)
        self._dispatcher.refresh(worker)

    def adopt(self, worker: LiveWorker, held: Held, now_s: float) -> bool:
        """Take over an attempt of an earlier process; False when its task is not to be had."""
        task = self._backlog.recovered.get(held.task_id)
        if task is None or not task.durable:
            return False
        self._backlog.withdraw(task)
        self._backlog.watch_run(task)
        task.apply(TaskEvent.ADOPTED)
        task.token = held.token
        task.worker = worker.id
        task.started_s = now_s
        task.due_s = None
        task.number = max(task.number, 1)
        worker.running[held.token] = task
        self._commands.changed(task, TaskEvent.ADOPTED)
        return True

    # What happens to workers

    def lost(self, worker: LiveWorker, *, reachable: bool = False) -> None:
        """Count every attempt of a worker as lost; it is told so when it may still hear."""
        for token, task in list(worker.running.items()):
            if self._release(worker, token, "superseded", tell=reachable):
                self._after_loss(task)
            else:
                self._give_back(task)
        self._dispatcher.refresh(worker)

    def undelivered(self, worker: LiveWorker, named: set[Token]) -> None:
        """Take back what was sent on the last link and is not named on this one: it never arrived."""
        for token in [token for token in worker.running if token not in named]:
            task = worker.running.pop(token)
            worker.loading.discard(token)
            if task.streams and task.pieces:
                self._after_loss(task)  # it did arrive, whatever the worker says
            else:
                self._give_back(task)

    # What callers and time do

    def cancel(self, task: LiveTask, reason: str) -> None:
        """End a task that is not wanted any more."""
        self._take_out(task, reason)
        self._resolve(
            task, TaskEvent.CANCELLED, Outcome(TaskStatus.CANCELLED, None, failure("cancelled"))
        )

    def expire(self, task: LiveTask) -> None:
        """End a task whose time is over."""
        running = task.status is _RUNNING
        begun = task.number > 0
        self._take_out(task, "timeout")
        if running or begun:
            why = failure("timeout", "Deadline passed before the task ended")
            self._resolve(task, TaskEvent.TIMED_OUT, Outcome(TaskStatus.TIMED_OUT, None, why))
        elif task.durable:
            self._resolve(
                task, TaskEvent.EXPIRED, Outcome(TaskStatus.EXPIRED, None, failure("expired"))
            )
        else:
            why = failure("queue_timeout")
            self._resolve(task, TaskEvent.TIMED_OUT, Outcome(TaskStatus.TIMED_OUT, None, why))

    def give_up(self, task: LiveTask, why: Failure) -> None:
        """End a waiting task that nobody can run."""
        self._backlog.withdraw(task)
        self.fail(task, why)

    def fail(self, task: LiveTask, why: Failure) -> None:
        """End a task that neither waits nor runs any more as failed."""
        self._resolve(task, TaskEvent.FAILED, Outcome(TaskStatus.FAILED, None, why))

    # Private

    def _ended_badly(self, task: LiveTask, outcome: Outcome, now_s: float) -> None:
        why = outcome.failure or failure("function_error")
        if outcome.status is TaskStatus.CANCELLED or why.code in LOSSES:
            # Nobody here asked for it, so its worker gave it up: as good as lost. One that stops in
            # good order says nothing about the task.
            self._after_loss(task, died=why.code != "shutting_down")
            return
        task.attempts += 1
        spec = self._directory.spec(task.lane)
        task.max_attempts = attempts_allowed(task, spec, self._settings)
        decision = after_failure(task, why.code, spec, self._settings, self._chance, now_s)
        if decision.again:
            task.queue_deadline_s = None  # it had its slot in time
            task.due_s = now_s + decision.wait_s
            self._back(task, TaskEvent.RETRIED, why.code)
        elif outcome.status is TaskStatus.TIMED_OUT:
            self._resolve(task, TaskEvent.TIMED_OUT, Outcome(TaskStatus.TIMED_OUT, None, why))
        else:
            self.fail(task, why)

    def _after_loss(self, task: LiveTask, *, died: bool = True) -> None:
        task.deaths += died
        next_step = after_loss(task, self._directory.spec(task.lane), self._settings)
        if next_step is AfterLoss.REQUEUE:
            task.queue_deadline_s = None  # it had its slot in time
            self._back(task, TaskEvent.LOST, "worker_lost")
        elif next_step is AfterLoss.QUARANTINE:
            why = failure("quarantined")
            self._resolve(task, TaskEvent.QUARANTINED, Outcome(TaskStatus.QUARANTINED, None, why))
        else:
            self.fail(task, failure("worker_lost"))

    def _give_back(self, task: LiveTask) -> None:
        """Requeue an attempt that its worker has never seen."""
        task.number -= 1
        self._requeue(task, TaskEvent.REFUSED, "worker_unreachable")

    def _requeue(self, task: LiveTask, event: TaskEvent, code: str) -> None:
        """Put a task back into its own place."""
        self._backlog.unwatch(task)
        self._back(task, event, code)
        self._backlog.watch(task)

    def _back(self, task: LiveTask, event: TaskEvent, code: str) -> None:
        task.apply(event)
        self._commands.changed(task, event, code)
        task.token = task.worker = task.started_s = None
        self._backlog.file(task, self._directory.lane(task.lane))

    def _take_out(self, task: LiveTask, reason: str) -> None:
        """Take a task out of its queue, or off its worker."""
        if task.status is not _RUNNING:
            self._backlog.withdraw(task)
            return
        assert task.worker is not None
        assert task.token is not None
        worker = self._workers[task.worker]
        if not self._release(worker, task.token, reason, tell=True):
            task.number -= 1
            task.token = task.worker = task.started_s = None
        self._dispatcher.refresh(worker)

    def _release(self, worker: LiveWorker, token: Token, reason: str, *, tell: bool) -> bool:
        """Forget an attempt; False when its worker has never heard of it."""
        del worker.running[token]
        if token in worker.loading:
            worker.loading.discard(token)
            worker.ledger.unload()
            return False
        worker.ledger.ended()
        if tell:
            self._commands.cancel_attempt(worker.id, token, reason)
        return True

    def _resolve(self, task: LiveTask, event: TaskEvent, outcome: Outcome) -> None:
        self._backlog.drop(task)
        task.apply(event)
        outcome.worker = task.worker
        outcome.attempts = task.attempts
        self._commands.resolve(task, outcome)
