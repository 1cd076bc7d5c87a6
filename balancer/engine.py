"""The engine: the single writer of the core's state.

Everything enters here, as synchronous calls on the event loop: tasks from the API, reports and
results from the fleet, time from the ticker. The engine reads the clock, calls the scheduler, and
carries out its commands on the object concerned: a worker's port, a task's sink, the store. It holds
no policy: which task runs where, what is retried and when a worker counts as lost is the core's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from balancer.core.scheduler import Scheduler
from balancer.delivery.admission import Admission
from balancer.delivery.dead_letters import DeadLetters
from balancer.delivery.durable import DurableTasks
from balancer.delivery.journal import Journal
from balancer.delivery.waiters import Waiters
from balancer.fleet.input_schema import InputSchemas
from shared.errors import Failure
from shared.ids import TaskId, Token, WorkerId
from shared.task import Piece, PieceKind
from shared.task_state import TaskEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.core.events import Held, WorkerFacts
    from balancer.core.live_task import LiveTask
    from balancer.core.scheduler import Settings
    from balancer.delivery.once import KeyOf
    from balancer.fleet.ports import WorkerPort
    from balancer.store.ports import Store, StoredTask
    from balancer.store.sealing import Sealer
    from shared.clock import Chance, Clock
    from shared.ids import IdSource
    from shared.log import TaskLog
    from shared.slot_report import SlotReport
    from shared.task import Outcome, Sink, TaskRequest

TICK_S = 0.05  # the resolution of every deadline
LATE_S = 1.0  # a tick this late means that we were suspended or overloaded: windows start anew
INPUT_RETRY_S = 0.5  # pause before a task whose input could not be read is offered again

_STARTS = (TaskEvent.DISPATCHED, TaskEvent.ADOPTED)


class _NoCaller:
    """The sink of a durable task: its pieces have no reader, its end goes to the store."""

    def piece(self, piece: Piece) -> None:
        """Drop a piece."""

    def finished(self, outcome: Outcome) -> None:
        """Do nothing; the engine commits the outcome."""


class Engine:
    """Runs the scheduler of one balancer.

    Args:
        settings: the scheduler's.
        clock, ids, chance: time, ids and randomness.
        store: where durable tasks live.
        sealer: seals worker keys in the store.
        log: where task events go.
        task_timeout_s: deadline of sync and stream tasks that name none.
        queue_timeout_s: longest wait for a slot; None for the task's deadline.
        max_durable: unfinished durable tasks that are kept.

    Attributes:
        waiters: callers that wait for ends of tasks.
        dead: what operators do with dead letters.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock, ids: IdSource, chance: Chance, store: Store,
        sealer: Sealer, log: TaskLog, task_timeout_s: float = 300.0,
        queue_timeout_s: float | None = None, max_durable: int = 1_000_000,
    ) -> None:  # fmt: skip
        self._journal = Journal(clock, log)
        self.counters = self._journal.counters
        self.wall = self._journal.wall
        self.recent = self._journal.recent
        self.waiters = Waiters()
        self._clock = clock
        self._ports: dict[WorkerId, WorkerPort] = {}
        self._schemas = InputSchemas()
        self._durable = DurableTasks(store, self._journal, sealer, max_durable, self._enqueue)
        self.dead = DeadLetters(store, self._durable, self._take_back, self.wall, clock, ids)
        self._scheduler = Scheduler(self, ids, chance, settings)
        self._admission = Admission(
            self._scheduler, ids, self.wall, task_timeout_s, queue_timeout_s
        )
        self._loading: set[asyncio.Task[None]] = set()
        self._no_caller = _NoCaller()

    # Tasks, from the API

    def submit(self, request: TaskRequest, sink: Sink) -> LiveTask | Failure:
        """Take a sync or stream task; its sink hears of everything that follows."""
        lane = self._admission.lane(request, durable=False)
        if isinstance(lane, Failure):
            return self._journal.rejected(lane, request.correlation_id)
        now_s = self._clock.monotonic()
        task = self._admission.task(lane, request, sink, now_s)
        refused = self._scheduler.submit(task, now_s)
        if refused is not None:
            return self._journal.rejected(refused, request.correlation_id)
        self._journal.accepted(task)
        return task

    async def accept(
        self, request: TaskRequest, *, key_of: KeyOf | None = None, call: bool = False
    ) -> LiveTask | Failure:
        """Take a durable task: it is committed to the store when this returns it.

        Args:
            request: what is asked for.
            key_of: makes the key that the caller named it by, which is committed with it.
            call: the caller waits for its end.
        """
        lane = self._admission.lane(request, durable=True)
        if isinstance(lane, Failure):
            return self._journal.rejected(lane, request.correlation_id)
        wrong = await self._schemas.problem(self._scheduler.spec(lane), request.input)
        if wrong is not None:
            return self._journal.rejected(wrong, request.correlation_id)
        now_s = self._clock.monotonic()
        task = self._admission.durable_task(lane, request, self._no_caller, now_s, call=call)
        if isinstance(task, Failure):
            return self._journal.rejected(task, request.correlation_id)
        refused = await self._durable.accept(task, key_of and key_of(task.id))
        if refused is not None:
            return self._journal.rejected(refused, request.correlation_id)
        return task

    def holds(self, task_id: TaskId) -> bool:
        """Tell whether a task has not ended and is held here: its end will be heard of here."""
        return self._scheduler.get(task_id) is not None or self._durable.ending(task_id)

    def cancel(self, task_id: TaskId, reason: str = "cancelled") -> bool:
        """Cancel a task that is held here; False when none such is."""
        return self._scheduler.cancel(task_id, reason, self._clock.monotonic())

    async def settled(self, task_id: TaskId) -> bool:
        """Wait until the end of a durable task is committed; False when the store is out."""
        return await self._durable.settled(task_id)

    def grant(self, task: LiveTask, size: int) -> None:
        """Let the stream of a task send so many bytes more: its reader has read them."""
        if task.flow is not None:
            task.flow.read(size)
        port = self._ports.get(task.worker) if task.worker is not None else None
        if port is not None and task.token is not None:
            port.credit(task.token, size)

    # Life

    async def recover(self) -> int:
        """Put the unfinished tasks of the store back into their queues; before the fleet starts."""
        now_s = self._clock.monotonic()
        tasks = await self._durable.recover(self._no_caller)
        for task in tasks:
            self._scheduler.restore(task, now_s)
        return len(tasks)

    async def run(self) -> None:
        """Tick until cancelled."""
        last_s = self._clock.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._clock.monotonic()
            gap_s, last_s = now_s - last_s, now_s
            if gap_s > LATE_S:
                # What the sockets hold is read in the turns before the next tick, so that nobody is
                # declared lost or late for what happened while we did not look.
                self._scheduler.late(gap_s, now_s)
                continue
            self._scheduler.tick(now_s)

    def stop_taking(self) -> None:
        """Refuse new tasks from now on."""
        self._admission.closed = True

    @property
    def idle(self) -> bool:
        """Tell whether no sync or stream task is held, and no caller waits for a durable one."""
        volatile = any(not task.durable for task in self._scheduler.tasks())
        return not volatile and not self.waiters.calls

    async def close(self) -> None:
        """Stop for good: what is durable goes on after the next start."""
        self._admission.closed = True
        self.waiters.close()
        await self.dead.close()
        self._durable.close()
        for loading in list(self._loading):
            loading.cancel()
        await asyncio.gather(*self._loading, return_exceptions=True)

    @property
    def scheduler(self) -> Scheduler:
        """Return the scheduler, for views; only the engine changes it."""
        return self._scheduler

    @property
    def durable_unfinished(self) -> int:
        """Return the number of durable tasks that have not ended."""
        return self._durable.unfinished

    # The fleet (balancer.fleet.ports.FleetEvents)

    def worker_up(
        self, port: WorkerPort, facts: WorkerFacts, report: SlotReport, holding: Sequence[Held]
    ) -> None:
        """Take a worker whose link is open, new or resumed."""
        self._ports[facts.worker] = port
        self._scheduler.worker_up(facts, report, holding, self._clock.monotonic())

    def worker_facts(self, facts: WorkerFacts) -> None:
        """Take changed facts."""
        self._scheduler.worker_facts(facts, self._clock.monotonic())

    def reported(self, worker: WorkerId, report: SlotReport) -> None:
        """Take a report of slots."""
        self._scheduler.reported(worker, report, self._clock.monotonic())

    def refused(
        self, worker: WorkerId, token: Token, code: str, message: str, report: SlotReport
    ) -> None:
        """Take back a dispatch."""
        self.counters.refusals += 1
        self._scheduler.refused(worker, token, code, message, report, self._clock.monotonic())

    def chunk(self, worker: WorkerId, token: Token, seq: int, kind: str, data: bytes) -> None:
        """Pass a piece of a stream on."""
        task = self._scheduler.piece(worker, token, seq, len(data))
        if task is None:
            port = self._ports.get(worker)
            if port is not None and self._scheduler.wants_credit(worker, token, seq):
                port.credit(token, len(data))  # it was sent on credit, and nobody will write it
            return
        self.counters.pieces += 1
        try:
            known = PieceKind(kind)
        except ValueError:  # of a later protocol version
            return
        task.sink.piece(Piece(seq, known, data))

    def finished(self, worker: WorkerId, token: Token, task_id: TaskId, outcome: Outcome) -> None:
        """Take the end of an attempt; its worker may forget it once nothing here can lose it."""
        if self._durable.committing(token):
            return  # offered again before it was committed; acknowledged then
        if not self._scheduler.finished(worker, token, outcome, self._clock.monotonic()):
            self.counters.superseded += 1
        self.acknowledge(worker, token)

    def link_lost(self, worker: WorkerId) -> None:
        """Note that a worker's link is closed.

        Its port stays: a closed link drops what it is told, and plain HTTP can still end calls.
        """
        self._scheduler.link_lost(worker, self._clock.monotonic())

    def silent(self, worker: WorkerId) -> None:
        """Note that nothing comes from a worker."""
        self._scheduler.silent(worker, self._clock.monotonic())

    def heard(self, worker: WorkerId) -> None:
        """Note that something comes again."""
        self._scheduler.heard(worker, self._clock.monotonic())

    def retire(self, worker: WorkerId) -> None:
        """Give a worker no new task."""
        self._scheduler.retire(worker, self._clock.monotonic())

    def reinstate(self, worker: WorkerId) -> None:
        """Give a retired worker tasks again."""
        self._scheduler.reinstate(worker, self._clock.monotonic())

    def forget(self, worker: WorkerId) -> None:
        """Drop a worker."""
        self._ports.pop(worker, None)
        self._scheduler.forget(worker, self._clock.monotonic())

    def running_on(self, worker: WorkerId) -> int:
        """Return the attempts that a worker runs for us."""
        return self._scheduler.running(worker)

    def discovered(self) -> None:
        """Note the end of the first round of discovery."""
        self._scheduler.discovered(self._clock.monotonic())

    # The scheduler's commands (balancer.core.commands.Commands)

    def dispatch(self, worker: WorkerId, task: LiveTask) -> None:
        """Send an attempt."""
        self.counters.dispatches += 1
        if task.input_stored:
            loading = asyncio.get_running_loop().create_task(self._load(worker, task))
            self._loading.add(loading)
            loading.add_done_callback(self._loading.discard)
        else:
            self._send(worker, task, task.request.input)

    def cancel_attempt(self, worker: WorkerId, token: Token, reason: str) -> None:
        """End an attempt that nobody waits for."""
        port = self._ports.get(worker)
        if port is not None:
            port.cancel(token, reason)

    def acknowledge(self, worker: WorkerId, token: Token) -> None:
        """Let a worker forget a result, unless it is on its way into the store."""
        port = self._ports.get(worker)
        if port is not None and not self._durable.committing(token):
            port.ack(token)

    def changed(self, task: LiveTask, event: str, code: str = "") -> None:
        """Record what happened to a task that goes on."""
        if event in _STARTS:
            self._journal.started(task)
            if task.durable:
                self._durable.started(task)
            return
        ended = self._journal.changed(task, event, code, self._clock.monotonic())
        if task.durable:
            self._durable.requeued(task, ended)

    def resolve(self, task: LiveTask, outcome: Outcome) -> None:
        """End a task."""
        now_s = self._clock.monotonic()
        self._journal.ended(task, outcome, now_s)
        if task.durable:
            self._durable.finish(task, outcome, now_s, lambda: self._committed(task, outcome))
        else:
            task.sink.finished(outcome)
            self.recent.add(task, outcome, now_s)
            if self.waiters.by_task:
                self.waiters.ended(task.id, outcome)

    def demand(self, worker: WorkerId, count: int, best_priority: float) -> None:
        """Tell a worker what waits for it."""
        port = self._ports.get(worker)
        if port is not None:
            port.demand(count, best_priority)

    # Private

    def _take_back(self, stored: StoredTask) -> None:
        self._enqueue(self._durable.revived(stored, self._no_caller))

    def _enqueue(self, task: LiveTask) -> None:
        self._journal.accepted(task)
        self._scheduler.submit(task, self._clock.monotonic())

    def _send(self, worker: WorkerId, task: LiveTask, body: bytes) -> None:
        port, token = self._ports.get(worker), task.token
        assert token is not None  # the scheduler dispatches under one
        remaining_s = None if task.deadline_s is None else task.deadline_s - self._clock.monotonic()
        if port is None or not port.dispatch(task, body, remaining_s):
            # Deferred, because the scheduler is in the middle of the decision that sent us here.
            asyncio.get_running_loop().call_soon(self._undispatched, worker, token)

    async def _load(self, worker: WorkerId, task: LiveTask) -> None:
        token = task.token
        try:
            body = await self._durable.input(task)
        except Exception as exc:  # an outage of the store, whatever its kind
            self._journal.store_failed(task, exc)
            body = None
        if token is None or task.token != token:
            return
        if body is None:
            await asyncio.sleep(INPUT_RETRY_S)
            self._undispatched(worker, token)
            return
        if self._scheduler.sent(worker, token):
            self._send(worker, task, body)

    def _undispatched(self, worker: WorkerId, token: Token) -> None:
        self._scheduler.undispatched(worker, token, self._clock.monotonic())

    def _committed(self, task: LiveTask, outcome: Outcome) -> None:
        self.waiters.ended(task.id, outcome)
        if task.worker is not None and task.token is not None:
            self.acknowledge(task.worker, task.token)
