"""The scheduler: the product's policy, pure. Events come in as calls, commands go out as calls.

    submit, restore, cancel ──▶ ┌───────────┐
    worker_up, link_lost …  ──▶ │ Scheduler │ ──▶ Commands: dispatch, resolve, changed, cancel_attempt …
    reported, finished …    ──▶ └───────────┘
    tick                    ──▶

It composes the backlog (tasks and their places), the directory (who hosts what), the dispatcher (which
task goes to which slot), the attempts (how they end) and the fleet (who lives). Each event leaves it
settled: no task waits while a slot that may run it is free, and no later task was chosen while an
earlier one that could have run there waited (priority, then order of acceptance). Nothing costs more
because more workers are idle or more tasks wait. Nothing raises on what comes from the network:
unknown workers and tokens, repeated ends and absurd numbers are ignored or clamped.

Time is monotonic seconds and never goes back. `tick` must be called at `next_tick_s` or soon after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.attempts import Attempts
from balancer.core.backlog import Backlog
from balancer.core.demand import DemandBoard
from balancer.core.directory import Directory
from balancer.core.dispatcher import Dispatcher
from balancer.core.events import HTTP
from balancer.core.fleet import Fleet
from balancer.core.live_worker import LiveWorker
from balancer.core.settings import Settings
from balancer.core.stream_flow import StreamFlow
from balancer.core.timekeeper import Timekeeper
from balancer.core.views import Counts, LaneView, view_of
from shared.errors import failure
from shared.ids import WorkerId

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balancer.core.commands import Commands
    from balancer.core.events import Held, WorkerFacts
    from balancer.core.lane import Lane
    from balancer.core.live_task import LiveTask
    from shared.capability import FunctionSpec
    from shared.clock import Chance
    from shared.errors import Failure
    from shared.ids import IdSource, LaneKey, TaskId, Token
    from shared.slot_report import SlotReport
    from shared.task import Outcome

__all__ = ["Counts", "LaneView", "Scheduler", "Settings"]


class Scheduler:
    """Decides what runs where and when, for one balancer.

    Args:
        commands: the outside; it must not call back before it returns.
        ids: makes attempt tokens.
        chance: jitter of retries.
        settings: limits and windows.
    """

    def __init__(
        self, commands: Commands, ids: IdSource, chance: Chance, settings: Settings
    ) -> None:
        self._settings = settings
        self._workers: dict[WorkerId, LiveWorker] = {}
        self._demand = DemandBoard(commands)
        self._directory = Directory(settings.no_worker_wait_s)
        self._backlog = Backlog(self._directory, self._demand, settings)
        self._dispatcher = Dispatcher(self._backlog, commands, ids)
        self._attempts = Attempts(
            self._workers,
            self._backlog,
            self._directory,
            self._dispatcher,
            commands,
            settings,
            chance,
        )
        self._fleet = Fleet(
            self._workers,
            self._attempts,
            self._directory,
            self._dispatcher,
            self._demand,
            commands,
            settings,
        )
        self._timekeeper = Timekeeper(
            self._backlog,
            self._directory,
            self._dispatcher,
            self._attempts,
            self._fleet,
            self._demand,
            commands,
        )
        self._now_s = 0.0

    # Tasks

    def check(self, group: str, contract: int, function: str, *, durable: bool) -> Failure | None:
        """Return why a task for a function cannot be taken (404, 503), or None when it can."""
        return self._directory.check(group, contract, function, durable=durable)

    def only_group(self, function: str, contract: int) -> str | Failure:
        """Return the only group that hosts a function, or why the request must name one."""
        return self._directory.only_group(function, contract)

    def spec(self, lane: LaneKey) -> FunctionSpec | None:
        """Return what the reference worker announces of a function; None while nobody hosts it."""
        return self._directory.spec(lane)

    def submit(self, task: LiveTask, now_s: float) -> Failure | None:
        """Take a new task; dispatch it at once when a slot is free.

        A durable task is never refused: it is committed already.
        """
        self._now_s = now_s
        if task.id in self._backlog.tasks:
            return failure("internal_error", "A task with this id is held already")
        lane = self._directory.lanes.get(task.lane)
        if lane is None or lane.deserted or not lane.shapes:
            unknown = self._directory.check(*task.lane, durable=task.durable)
            if unknown is not None and not task.durable:
                return unknown  # a durable task is committed already: it waits
            lane = self._directory.lane(task.lane)
        task.lane = lane.key  # one for all, because finished tasks are kept
        return self._take(task, lane, now_s)

    def restore(self, task: LiveTask, now_s: float) -> None:
        """Take a task back that an earlier process had accepted; in the order of acceptance.

        It is not dispatched before `discovered`, because a worker may still be running it.
        """
        self._now_s = now_s
        backlog = self._backlog
        if task.id not in backlog.tasks:
            backlog.hold(task, now_s)
            backlog.recovered[task.id] = task
            backlog.watch(task)
            backlog.file(task, self._directory.lane(task.lane))
            self._dispatcher.settle(now_s)

    def cancel(self, task_id: TaskId, reason: str, now_s: float) -> bool:
        """End a task as cancelled, wherever it is; False when it is not held (any more)."""
        task = self._backlog.tasks.get(task_id)
        if task is None:
            return False
        self._attempts.cancel(task, reason)
        self._settle(now_s)
        return True

    def get(self, task_id: TaskId) -> LiveTask | None:
        """Return a task that is held, or None."""
        return self._backlog.tasks.get(task_id)

    def tasks(self) -> list[LiveTask]:
        """Return every task that is held, oldest first."""
        return list(self._backlog.tasks.values())

    # Fleet

    def worker_up(
        self, facts: WorkerFacts, report: SlotReport, holding: Sequence[Held], now_s: float
    ) -> None:
        """Take a worker whose link has opened, for the first time or again.

        The link counts its dispatches from 1 again. Attempts that `holding` names go on; those it
        does not name never arrived and go back to their places. A new boot id loses the old attempts.
        """
        self._fleet.up(facts, report, holding, now_s)
        self._settle(now_s)

    def worker_facts(self, facts: WorkerFacts, now_s: float | None = None) -> None:
        """Take changed functions, eligibility, weight or order of a known worker."""
        now_s = self._now_s if now_s is None else now_s
        self._fleet.learn(facts, now_s)
        self._settle(now_s)

    def link_lost(self, worker: WorkerId, now_s: float) -> None:
        """Note that a worker's link has closed; it may come back within RESUME_WINDOW."""
        self._tell_fleet(self._fleet.down, worker, now_s)

    def silent(self, worker: WorkerId, now_s: float) -> None:
        """Note that nothing comes from a worker; it gets nothing until it is heard."""
        self._tell_fleet(self._fleet.silent, worker, now_s)

    def heard(self, worker: WorkerId, now_s: float) -> None:
        """Note that something comes again."""
        self._tell_fleet(self._fleet.heard, worker, now_s)

    def retire(self, worker: WorkerId, now_s: float | None = None) -> None:
        """Give a worker no new task; what it runs goes on. `forget` it when `running` is 0."""
        self._tell_fleet(self._fleet.retire, worker, self._now_s if now_s is None else now_s)

    def reinstate(self, worker: WorkerId, now_s: float) -> None:
        """Give a retired worker tasks again."""
        self._tell_fleet(self._fleet.reinstate, worker, now_s)

    def forget(self, worker: WorkerId, now_s: float | None = None) -> None:
        """Drop a worker; attempts that it still runs are lost."""
        self._tell_fleet(self._fleet.forget, worker, self._now_s if now_s is None else now_s)

    def discovered(self, now_s: float) -> None:
        """Note that every listed worker has answered or failed once: what is unknown now is unknown.

        Calls for functions that nobody hosts end; recovered tasks that nobody holds may run.
        """
        self._timekeeper.discovered()
        self._settle(now_s)

    # Attempts

    def reported(self, worker: WorkerId, report: SlotReport, now_s: float) -> None:
        """Take a report of slots and fill what is free."""
        self._now_s = now_s
        known = self._workers.get(worker)
        if known is not None and known.up:
            known.ledger.report(report)
            self._dispatcher.fill(known, now_s)

    def refused(
        self,
        worker: WorkerId,
        token: Token,
        code: str,
        message: str,
        report: SlotReport,
        now_s: float,
    ) -> None:
        """Take a dispatch back that its worker did not begin, after its report."""
        known = self._workers.get(worker)
        if known is None:
            return
        if known.up:
            known.ledger.report(report)
        self._attempts.refused(known, token, code, message)
        self._fleet.refused(known, now_s)
        self._dispatcher.refresh(known)
        self._settle(now_s)

    def undispatched(self, worker: WorkerId, token: Token, now_s: float) -> None:
        """Take a dispatch back that the shell could not send.

        Unless only its input could not be read, its worker gets nothing until its next report.
        """
        known = self._workers.get(worker)
        if known is not None:
            self._attempts.undispatched(known, token)
            self._settle(now_s)

    def sent(self, worker: WorkerId, token: Token) -> bool:
        """Give a dispatch whose input was in the store its number; before it is sent.

        Returns:
            False when the attempt is not wanted any more: do not send it.
        """
        known = self._workers.get(worker)
        if known is None or token not in known.running:
            return False
        if token in known.loading:
            known.loading.discard(token)
            known.ledger.loaded()
        return True

    def piece(
        self, worker: WorkerId, token: Token, seq: int | None = None, size: int = 0
    ) -> LiveTask | None:
        """Count a piece of a stream and return its task; None when nobody wants the piece.

        That is so when its attempt is superseded, or when it came before: after a cut a worker sends
        again what it has no credit for yet. A stream is never retried after its first piece, so the
        pieces of a task are those of its attempt.

        Args:
            worker: who sends it.
            token: its attempt.
            seq: its number, 1, 2, 3 …; None for the next one.
            size: its bytes.
        """
        known = self._workers.get(worker)
        task = None if known is None else known.running.get(token)
        if task is None or (seq is not None and seq <= task.pieces):
            return None
        task.pieces += 1
        if task.flow is None:
            task.flow = StreamFlow()
        task.flow.add(size)
        return task

    def wants_credit(self, worker: WorkerId, token: Token, seq: int) -> bool:
        """Tell whether a piece that nobody wants is to be credited now, and not when it is read."""
        known = self._workers.get(worker)
        task = None if known is None else known.running.get(token)
        unread = 0 if task is None or task.flow is None else task.flow.unread
        return task is None or seq <= task.pieces - unread

    def finished(self, worker: WorkerId, token: Token, outcome: Outcome, now_s: float) -> bool:
        """Take the end of an attempt; False when it is superseded, so that nobody wants its result."""
        self._now_s = now_s
        known = self._workers.get(worker)
        if known is None or not self._attempts.finished(known, token, outcome, now_s):
            return False
        if self._backlog.unsettled:
            self._dispatcher.settle(now_s)
        if known.kind == HTTP:
            self._dispatcher.fill(known, now_s)
        return True

    # Time

    def tick(self, now_s: float) -> None:
        """Do what is due: deadlines, windows, delayed tasks, demand."""
        self._now_s = now_s
        self._timekeeper.tick(now_s)

    def next_tick_s(self) -> float | None:
        """Return when something is due, or None."""
        return self._timekeeper.next_s()

    def late(self, gap_s: float, now_s: float) -> None:
        """Begin all windows again: the balancer itself was not looking for `gap_s` seconds.

        The caller reads what its sockets hold before the next tick.
        """
        del gap_s  # however long it was, what was heard before it says nothing about now
        self._now_s = now_s
        self._timekeeper.late(now_s)

    # Views

    def lanes(self) -> list[LaneView]:
        """Return the lanes that are hosted or have tasks, in order of their names."""
        return [view_of(lane) for _, lane in sorted(self._directory.lanes.items())]

    def running(self, worker: WorkerId) -> int:
        """Return the number of attempts that a worker runs, as far as we know."""
        known = self._workers.get(worker)
        return 0 if known is None else len(known.running)

    def worker(self, worker: WorkerId) -> LiveWorker | None:
        """Return a known worker, for views; only the scheduler changes it."""
        return self._workers.get(worker)

    def counts(self) -> Counts:
        """Return how much is held."""
        backlog = self._backlog
        held = len(backlog.tasks)
        return Counts(
            tasks=held,
            waiting=backlog.waiting,
            running=held - backlog.waiting,
            volatile=backlog.volatile,
            waiting_bytes=backlog.waiting_bytes,
            workers_up=sum(worker.up for worker in self._workers.values()),
        )

    # Private

    def _take(self, task: LiveTask, lane: Lane, now_s: float) -> Failure | None:
        """Dispatch a new task, or let it wait if it may."""
        backlog = self._backlog
        worker = lane.best_worker() if task.due_s is None else None
        if worker is not None:
            backlog.hold(task, now_s)
            if task.deadline_s is not None:
                backlog.deadlines.add(task, task.deadline_s)
            self._dispatcher.place(task, worker, now_s)
            return None
        full = backlog.full(task, lane, now_s)
        if full is not None:
            self._directory.tidy(lane)
            return full
        backlog.hold(task, now_s)
        backlog.watch(task)
        backlog.file(task, lane)
        backlog.unsettled.clear()  # no worker is idle for it, and nothing else has changed
        return None

    def _tell_fleet(
        self, event: Callable[[LiveWorker, float], None], worker: WorkerId, now_s: float
    ) -> None:
        known = self._workers.get(worker)
        if known is not None:
            event(known, now_s)
            self._settle(now_s)

    def _settle(self, now_s: float) -> None:
        self._now_s = now_s
        if self._backlog.unsettled:
            self._dispatcher.settle(now_s)
