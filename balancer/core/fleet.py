"""The fleet: which workers there are, whether they can be reached, and when they count as lost.

    worker_up ──▶ up ──silent──▶ silent ──STALL_WINDOW──▶ lost (heard: up again)
                  │ ▲
         link_lost│ │worker_up, same boot: resumed
                  ▼ │
                 down ──RESUME_WINDOW──▶ lost

Lost is said of a worker's attempts: they are requeued or failed, and whatever it says of them later is
superseded. The worker stays known until it is forgotten. A new boot id loses the old attempts at once.
Attempts belong to tasks, not to links: a resumed link names what it holds, and goes on with it.

A plain HTTP worker's calls do not depend on its slot socket, so there a lost link waits for
STALL_WINDOW, and a new one leaves the calls under way alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.events import HTTP
from balancer.core.leases import Windows
from balancer.core.live_worker import LiveWorker
from shared.ids import WorkerId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.core.attempts import Attempts
    from balancer.core.commands import Commands
    from balancer.core.demand import DemandBoard
    from balancer.core.directory import Directory
    from balancer.core.dispatcher import Dispatcher
    from balancer.core.events import Held, WorkerFacts
    from balancer.core.settings import Settings
    from shared.slot_report import SlotReport

PATIENCE = 3  # refusals in a row that are taken for bad luck
REST_S = 0.05  # of a worker that refuses what it says it has room for: 20 tries a second


class Fleet:
    """Follows the life of workers. The caller settles after each event.

    Args:
        workers: every known worker; shared with the attempts.
        attempts, directory, dispatcher, demand, commands: what workers' lives act on.
        settings: the windows.

    Attributes:
        windows: workers that count as lost when their window is over.
        rests: workers that refused although they said that they had room.
    """

    __slots__ = (
        "_attempts",
        "_commands",
        "_demand",
        "_directory",
        "_dispatcher",
        "_settings",
        "_workers",
        "rests",
        "windows",
    )

    def __init__(
        self,
        workers: dict[WorkerId, LiveWorker],
        attempts: Attempts,
        directory: Directory,
        dispatcher: Dispatcher,
        demand: DemandBoard,
        commands: Commands,
        settings: Settings,
    ) -> None:
        self._workers = workers
        self._attempts = attempts
        self._directory = directory
        self._dispatcher = dispatcher
        self._demand = demand
        self._commands = commands
        self._settings = settings
        self.windows: Windows[WorkerId] = Windows()
        self.rests: Windows[WorkerId] = Windows()

    def up(
        self, facts: WorkerFacts, report: SlotReport, holding: Sequence[Held], now_s: float
    ) -> None:
        """Take a worker whose link has opened, for the first time or again."""
        worker = self._workers.get(facts.worker)
        if worker is None or worker.kind != facts.kind:
            if worker is not None:
                self.forget(worker, now_s)
            worker = self._workers[facts.worker] = LiveWorker(facts)
        elif worker.boot != facts.boot:
            self._attempts.lost(worker)
        elif worker.kind != HTTP:
            self._attempts.undelivered(worker, {held.token for held in holding})
        self.windows.stop(worker.id)
        worker.silent = False
        worker.told = None
        worker.ledger.reopen(report)
        self._reconcile(worker, holding, now_s)
        self._move(worker, facts, now_s)
        self._directory.set_up(worker, True, now_s)
        self._refresh(worker)

    def learn(self, facts: WorkerFacts, now_s: float) -> None:
        """Take changed facts of a known worker."""
        worker = self._workers.get(facts.worker)
        if worker is not None:
            self._move(worker, facts, now_s)
            self._refresh(worker)

    def down(self, worker: LiveWorker, now_s: float) -> None:
        """Give a worker whose link has closed nothing, and some time to come back."""
        if not worker.up and worker.id in self.windows:
            return
        worker.silent = False
        self._directory.set_up(worker, False, now_s)
        self._refresh(worker)
        patience_s = (
            self._settings.stall_window_s if worker.kind == HTTP else self._settings.resume_window_s
        )
        self.windows.start(worker.id, now_s, patience_s)

    def silent(self, worker: LiveWorker, now_s: float) -> None:
        """Give a worker that says nothing on an open link nothing either."""
        if worker.up and not worker.silent:
            worker.silent = True
            self._refresh(worker)
            self.windows.start(worker.id, now_s, self._settings.stall_window_s)

    def heard(self, worker: LiveWorker, now_s: float) -> None:
        """Go on with a worker that was silent."""
        if worker.silent:
            worker.silent = False
            self.windows.stop(worker.id)
            self._directory.set_up(worker, True, now_s)
            self._refresh(worker)

    def refused(self, worker: LiveWorker, now_s: float) -> None:
        """Let a worker rest that refuses again and again although it says that it has room.

        Once or twice is a race with its other callers. Its next report may never come, so time ends
        the rest; without one, a broken worker would be sent the same task as fast as the wire bears.
        """
        worker.refusals = worker.refusals + 1 if worker.ledger.free else 0
        if worker.refusals >= PATIENCE:
            worker.ledger.rest()
            self.rests.start(worker.id, now_s, REST_S)

    def retire(self, worker: LiveWorker, now_s: float) -> None:
        """Give a worker no new task: its entry was removed."""
        worker.retired = True
        self._directory.leave(worker, now_s)

    def reinstate(self, worker: LiveWorker, now_s: float) -> None:
        """Take a retired worker back: its entry is there again."""
        if worker.retired:
            worker.retired = False
            self._directory.join(worker, now_s)
            self._refresh(worker)

    def forget(self, worker: LiveWorker, now_s: float) -> None:
        """Drop a worker; what it still runs is lost."""
        self._attempts.lost(worker, reachable=worker.up)
        self._directory.leave(worker, now_s)
        self.windows.stop(worker.id)
        self.rests.stop(worker.id)
        del self._workers[worker.id]

    def tick(self, now_s: float) -> None:
        """Count the attempts of workers as lost whose window is over."""
        for worker_id in self.rests.expired(now_s):
            self._workers[worker_id].ledger.wake()
            self._refresh(self._workers[worker_id])
        for worker_id in self.windows.expired(now_s):
            worker = self._workers[worker_id]
            reachable = worker.up
            # An open link on which nothing comes is no better than none, as far as callers go.
            self._directory.set_up(worker, False, now_s)
            self._attempts.lost(worker, reachable=reachable)

    def _move(self, worker: LiveWorker, facts: WorkerFacts, now_s: float) -> None:
        """Put a worker among those that now host the same."""
        stays = worker.shape is not None and worker.same_place(facts)
        if not stays:
            self._directory.leave(worker, now_s)
        worker.learn(facts)
        if not stays and not worker.retired:
            self._directory.join(worker, now_s)

    def _refresh(self, worker: LiveWorker) -> None:
        self._dispatcher.refresh(worker)
        if worker.shape is not None and worker.shape.newcomers:
            self._demand.touch(worker.shape)

    def _reconcile(self, worker: LiveWorker, holding: Sequence[Held], now_s: float) -> None:
        """Go on with what a worker holds as far as it is current, or its task is to be had."""
        for held in holding:
            if held.token in worker.running or self._attempts.adopt(worker, held, now_s):
                continue
            if held.finished:
                self._commands.acknowledge(worker.id, held.token)
            else:
                self._commands.cancel_attempt(worker.id, held.token, "superseded")
