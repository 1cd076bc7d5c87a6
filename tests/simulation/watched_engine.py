"""The real engine, watched: each thing it does is told to the witness at the moment it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.delivery.admission import Admission
from balancer.engine import Engine
from shared.errors import Failure
from shared.task_state import TaskEvent, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.core.events import Held, WorkerFacts
    from balancer.core.live_task import LiveTask
    from balancer.core.live_worker import LiveWorker
    from balancer.fleet.ports import WorkerPort
    from shared.ids import LaneKey, TaskId, Token, WorkerId
    from shared.slot_report import SlotReport
    from shared.task import Outcome, Sink, TaskRequest
    from tests.simulation.cases import Case
    from tests.simulation.hosts import Host
    from tests.simulation.witness import Witness

Rank = tuple[float, int, int, str]


class WatchedAdmission(Admission):
    """An engine's admission, whose tasks a witness is told of."""

    def __init__(self, inner: Admission, witness: Witness) -> None:
        vars(self).update(vars(inner))
        self._witness = witness

    def task(self, lane: LaneKey, request: TaskRequest, sink: Sink, now_s: float) -> LiveTask:
        """Make the task of a call, which is in its queue next."""
        task = super().task(lane, request, sink, now_s)
        self._witness.made(task)
        self._witness.queued(task)
        return task

    def durable_task(
        self, lane: LaneKey, request: TaskRequest, sink: Sink, now_s: float, *, call: bool
    ) -> LiveTask | Failure:
        """Make a durable task, which is in its queue once it is committed."""
        task = super().durable_task(lane, request, sink, now_s, call=call)
        if not isinstance(task, Failure):
            self._witness.made(task)
        return task


class WatchedEngine(Engine):
    """The engine of one balancer process; `watch` must follow its making.

    Attributes:
        up_s, lost_s, silent_s: since when workers' links are open, closed, or silent.
        touched: workers of which something was heard since the last look; see `invariants.settled`.
        sent: dispatches that went out on each worker's present link.
    """

    def watch(self, witness: Witness, hosts: dict[WorkerId, Host]) -> None:
        """Begin to tell a witness.

        Args:
            witness: who is told.
            hosts: the true state of every worker.
        """
        self._witness = witness
        self._admission = WatchedAdmission(self._admission, witness)
        self._hosts = hosts
        self.up_s: dict[WorkerId, float] = {}
        self.lost_s: dict[WorkerId, float] = {}
        self.silent_s: dict[WorkerId, float] = {}
        self.touched: dict[WorkerId, None] = {}
        self.sent: dict[WorkerId, int] = {}
        self._last: dict[WorkerId, int] = {}
        self._dispatches = 0

    def known(self) -> list[LiveWorker]:
        """Return the workers that the scheduler knows, in a stable order."""
        found = (self.scheduler.worker(worker) for worker in self._hosts)
        return [worker for worker in found if worker is not None]

    # Tasks

    def submit(self, request: TaskRequest, sink: Sink) -> LiveTask | Failure:
        """Take a call; note when it is turned away."""
        taken = super().submit(request, sink)
        if isinstance(taken, Failure):
            self._witness.turned_away(self._case(request), taken.code)
        return taken

    def _enqueue(self, task: LiveTask) -> None:
        self._witness.queued(task)
        super()._enqueue(task)

    async def recover(self) -> int:
        """Take over what the disk has."""
        count = await super().recover()
        self._witness.restored(self.scheduler.tasks())
        return count

    # The fleet

    def worker_up(
        self, port: WorkerPort, facts: WorkerFacts, report: SlotReport, holding: Sequence[Held]
    ) -> None:
        """Take a worker."""
        worker = facts.worker
        self._witness.trace.note("up", worker, facts.boot, len(holding))
        self.up_s[worker] = self._witness.time.now_s
        self.lost_s.pop(worker, None)
        self.silent_s.pop(worker, None)
        self.touched[worker] = None
        self.sent[worker] = 0
        host = self._hosts[worker]
        if host.process.name == facts.boot:
            self._witness.welcomed.add(host.process)
        super().worker_up(port, facts, report, holding)

    def worker_facts(self, facts: WorkerFacts) -> None:
        """Take changed facts."""
        self.touched[facts.worker] = None
        super().worker_facts(facts)

    def reported(self, worker: WorkerId, report: SlotReport) -> None:
        """Take a report."""
        self._witness.trace.note("report", worker, report.seen, report.available)
        self.touched[worker] = None
        super().reported(worker, report)

    def refused(
        self, worker: WorkerId, token: Token, code: str, message: str, report: SlotReport
    ) -> None:
        """Take back a dispatch."""
        self._witness.trace.note("refused", worker, token, code)
        self._witness.happened[f"refused {code}"] += 1
        self.touched[worker] = None
        super().refused(worker, token, code, message, report)

    def finished(self, worker: WorkerId, token: Token, task_id: TaskId, outcome: Outcome) -> None:
        """Take the end of an attempt; a stale one must change nothing."""
        task = self.scheduler.get(task_id)
        current = (
            task is not None
            and task.status is TaskStatus.RUNNING
            and (task.token, task.worker) == (token, worker)
        )
        ok = outcome.ok
        before = None if task is None else (task.token, task.status, task.attempts)
        self._witness.trace.note("finished", worker, token, outcome.status.value, current)
        super().finished(worker, token, task_id, outcome)
        after = self.scheduler.get(task_id)
        if current:
            goes_on = after is not None and (ok or after.token == token)
            self._witness.check(not goes_on, f"{task_id} goes on after the end of {token}")
        else:
            self._witness.happened["superseded"] += 1
            now = None if after is None else (after.token, after.status, after.attempts)
            self._witness.check(now == before, f"the stale end of {token} changed {task_id}")

    def link_lost(self, worker: WorkerId) -> None:
        """Note that a link is closed."""
        self._witness.trace.note("link lost", worker)
        self._witness.happened["link lost"] += 1
        self.lost_s[worker] = self._witness.time.now_s
        self.silent_s.pop(worker, None)
        super().link_lost(worker)

    def silent(self, worker: WorkerId) -> None:
        """Note a silence."""
        self._witness.trace.note("silent", worker)
        self.silent_s[worker] = self._witness.time.now_s
        self._witness.happened["silent"] += 1
        super().silent(worker)

    def heard(self, worker: WorkerId) -> None:
        """Note its end."""
        self._witness.trace.note("heard", worker)
        self.silent_s.pop(worker, None)
        self.touched[worker] = None
        super().heard(worker)

    def retire(self, worker: WorkerId) -> None:
        """Give a worker nothing more."""
        self._witness.trace.note("retire", worker)
        super().retire(worker)

    def reinstate(self, worker: WorkerId) -> None:
        """Give it tasks again."""
        self._witness.trace.note("reinstate", worker)
        self.touched[worker] = None
        super().reinstate(worker)

    def forget(self, worker: WorkerId) -> None:
        """Drop a worker."""
        self._witness.trace.note("forget", worker)
        for per_worker in (self.lost_s, self.silent_s, self._last, self.sent):
            per_worker.pop(worker, None)
        super().forget(worker)

    def discovered(self) -> None:
        """Let recovered tasks go."""
        self._witness.trace.note("discovered")
        self._witness.discovery_ends()
        super().discovered()

    # Commands

    def dispatch(self, worker: WorkerId, task: LiveTask) -> None:
        """Check the decision, then send the attempt."""
        self._witness.trace.note("dispatch", worker, task.id, task.token)
        live = self.scheduler.worker(worker)
        assert live is not None
        case = self._witness.by_id[task.id]
        self._check_fit(live, task)
        self._check_first(live, case)
        self._check_best(live, task)
        self._dispatches += 1
        self._last[worker] = self._dispatches
        super().dispatch(worker, task)

    def changed(self, task: LiveTask, event: str, code: str = "") -> None:
        """Check what happens to a task that goes on."""
        self._witness.changed(task, TaskEvent(event), code)
        super().changed(task, event, code)

    def resolve(self, task: LiveTask, outcome: Outcome) -> None:
        """Check how a task ends."""
        self._witness.resolved(task, outcome)
        super().resolve(task, outcome)

    def cancel_attempt(self, worker: WorkerId, token: Token, reason: str) -> None:
        """End an attempt."""
        self._witness.trace.note("cancel", worker, token, reason)
        super().cancel_attempt(worker, token, reason)

    def _send(self, worker: WorkerId, task: LiveTask, body: bytes) -> None:
        super()._send(worker, task, body)
        self.sent[worker] = self.sent.get(worker, 0) + 1
        self._check_room(worker)

    # Checks

    def _case(self, request: TaskRequest) -> Case:
        return self._witness.cases[int(request.correlation_id)]

    def _check_fit(self, live: LiveWorker, task: LiveTask) -> None:
        """The worker can be reached, hosts the function and is wanted."""
        group, contract, function = task.lane
        fits = live.up and not live.silent and not live.retired
        fits = fits and live.pool_key == (group, contract) and function in live.eligible
        self._witness.check(fits, f"{task.id} is sent to {live.id}, which may not get it")

    def _check_first(self, live: LiveWorker, case: Case) -> None:
        """No task before it in any lane of this worker waits."""
        place = (case.order.priority, case.place)
        for function in live.eligible:
            first = self._witness.queues.first((*live.pool_key, function))
            self._witness.check(
                first is None or place < first[:2],
                f"{case.task_id} {place} is sent before {first}",
            )

    def _check_best(self, live: LiveWorker, task: LiveTask) -> None:
        """No other idle worker comes before this one in the order of placement."""
        chosen = self._rank(live, live.ledger.free + 1)
        for other in self.known():
            if other is live or not can_take(other, task.lane):
                continue
            rank = self._rank(other, other.ledger.free)
            self._witness.check(chosen <= rank, f"{task.id} goes to {chosen}, not to {rank}")

    def _rank(self, live: LiveWorker, free: int) -> Rank:
        return (-free * live.weight, self._last.get(live.id, 0), live.order, live.id)

    def _check_room(self, worker: WorkerId) -> None:
        """What is on its way to a worker fits beside what runs there."""
        host = self._hosts[worker]
        sessions = host.peers.sessions() if host.up and not host.direct else []
        if sessions:
            unread = self.sent[worker] - sessions[0].link.seen
            used = host.engine.gate.used
            self._witness.check(
                used + unread <= host.limit,
                f"{worker}: {unread} sent and {used} of {host.limit} used",
            )


def can_take(live: LiveWorker, lane: LaneKey) -> bool:
    """Tell whether a worker has a free slot for a lane, as far as the balancer knows."""
    ready = live.up and not live.silent and not live.retired and live.ledger.free > 0
    return ready and live.pool_key == lane[:2] and lane[2] in live.eligible
