"""A whole fleet around a real scheduler, with the checks that hold after every step (DESIGN §4, §5).

Each public verb is one event that may happen at any time; a hypothesis machine and a seeded script
choose among them. The world is the shell: it carries commands to fake workers that hold slots, and
what they say back, with delays, cuts and losses that the verbs decide.
"""

from __future__ import annotations

from random import Random

from balancer.core.live_task import LiveTask
from balancer.core.scheduler import Scheduler, Settings
from shared.errors import failure
from shared.ids import SequentialIds, TaskId, Token, WorkerId
from shared.task import Mode, Outcome, TaskRequest
from shared.task_state import TaskStatus
from tests.fakes.scheduler_rig import Sink
from tests.fakes.slot_worker import FUNCTIONS, Said, Sent, SlotWorker

LOST_CODES = {"worker_lost", "no_worker_available", "function_not_found", "group_not_found"}
DRAIN_ROUNDS = 300
DEATHS = 3


class World:
    """A scheduler, its fleet and its callers."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.ids = SequentialIds("task")
        self.core = Scheduler(
            self, SequentialIds("token"), Random(5), Settings(max_queue=25, max_queue_bytes=400)
        )
        everything = tuple(FUNCTIONS)
        self.workers = {
            worker.id: worker
            for worker in (
                SlotWorker("a:1", 2, everything, 0),
                SlotWorker("b:1", 1, everything, 1),
                SlotWorker("c:1", 3, ("plain", "retry"), 2),
            )
        }
        self.trace: list[tuple[object, ...]] = []
        self.open: dict[TaskId, LiveTask] = {}  # accepted, not ended
        self.recovered: set[TaskId] = set()
        self.known: set[WorkerId] = set()
        self.discovered = False
        self.unsendable: list[tuple[WorkerId, Token]] = []
        self.loading: list[tuple[WorkerId, Token, TaskId]] = []
        self.spent: set[Token] = set()
        self.places: dict[TaskId, tuple[int, int]] = {}  # seq, attempts
        self.unheard_s: dict[WorkerId, float] = {}  # since when a worker is down or silent

    # Commands

    def dispatch(self, worker: WorkerId, task: LiveTask) -> None:
        """Check the decision, then put the dispatch on the wire."""
        self.trace.append(("dispatch", worker, task.id, task.token))
        host = self.workers[worker]
        token = task.token
        assert token is not None
        assert token not in self.spent, "a token is never used twice"
        self.spent.add(token)
        assert host.linked, "no task for a worker that cannot be reached"
        assert not host.silent
        assert not host.retired
        assert task.lane[2] in host.functions, "no task for a worker that may not run it"
        self._check_first(host, task)
        self._check_best(host, task)
        if task.input_stored:
            self.loading.append((worker, token, task.id))
        elif host.broken:
            self.unsendable.append((worker, token))
        else:
            host.inbox.append(Sent(token, task.id))
            self._check_room(host)

    def cancel_attempt(self, worker: WorkerId, token: Token, reason: str) -> None:
        """Put a cancel on the wire."""
        self.trace.append(("cancel", worker, token))
        host = self.workers[worker]
        if host.linked and not host.broken:
            host.inbox.append(Sent(token, TaskId(""), cancel=True))

    def acknowledge(self, worker: WorkerId, token: Token) -> None:
        """Let a worker forget."""
        self.trace.append(("acknowledge", worker, token))
        self.workers[worker].ended.pop(token, None)

    def changed(self, task: LiveTask, event: str, code: str = "") -> None:
        """Check that a task keeps its place, and what a change may cost it."""
        self.trace.append((str(event), task.id, code))
        seq, attempts = self.places.setdefault(task.id, (task.seq, task.attempts))
        assert task.seq == seq, "a task goes back to its own place"
        assert task.attempts == attempts + (event == "retried"), "only a failure spends an attempt"
        self.places[task.id] = (seq, task.attempts)
        if event == "lost":
            assert task.durable or task.lane[2] == "safe", "others are not run twice"
            assert task.deaths < DEATHS, "then it is set aside"
        if event == "dispatched":
            assert self.discovered or task.id not in self.recovered, "somebody may still run it"
        self.recovered.discard(task.id)

    def resolve(self, task: LiveTask, outcome: Outcome) -> None:
        """Check that a task ends once, as it may."""
        self.trace.append(("resolve", task.id, str(outcome.status)))
        assert self.open.pop(task.id) is task, "a task ends once"
        self.recovered.discard(task.id)
        self._check_told(task, outcome)
        assert self.core.get(task.id) is None, "the core has forgotten it"
        code = outcome.failure.code if outcome.failure else ""
        assert (outcome.status is TaskStatus.SUCCEEDED) is (outcome.failure is None)
        if outcome.status is TaskStatus.SUCCEEDED:
            assert outcome.result == (task.token or "").encode(), "of its current attempt"
        if task.durable:
            assert code not in LOST_CODES, "a durable task outlives its worker"

    def demand(self, worker: WorkerId, count: int, best_priority: float) -> None:
        """Check that only those who can hear are told."""
        self.trace.append(("demand", worker, count, best_priority))
        assert self.workers[worker].linked

    # Tasks

    def submit(
        self, function: str, priority: int, *, durable: bool, within_s: float | None, stored: bool
    ) -> None:
        """Hand a task in."""
        task = self._task(function, priority, durable, within_s, stored)
        self.open[task.id] = task
        refused = self.core.submit(task, self.now_s)
        if refused is not None:
            assert not durable, "a durable task is committed already"
            assert self.open.pop(task.id) is task
        self.trace.append(("submit", task.id, refused.code if refused else ""))
        self.check()

    def restore(self, function: str, priority: int) -> None:
        """Take a task back from the store; some worker may hold an attempt of it."""
        task = self._task(function, priority, True, None, False)
        self.open[task.id] = task
        self.recovered.add(task.id)
        self.core.restore(task, self.now_s)
        self.check()

    def hold_old_attempt(self, worker: WorkerId, *, finished: bool) -> None:
        """Let an unlinked worker hold an attempt of an earlier balancer for a recovered task."""
        host = self.workers[worker]
        if host.linked or host.used >= host.limit or not self.recovered:
            return
        task_id = min(self.recovered)
        token = Token(f"old-{task_id}-{worker}")
        if token in self.spent:
            return
        self.spent.add(token)
        if finished:
            host.ended[token] = (task_id, TaskStatus.SUCCEEDED)
        else:
            host.running[token] = task_id

    def cancel(self, index: int) -> None:
        """Cancel a task."""
        if self.open:
            task_id = list(self.open)[index % len(self.open)]
            assert self.core.cancel(task_id, "caller left", self.now_s)
            assert not self.core.cancel(task_id, "caller left", self.now_s)
            self.check()

    def load(self, *, readable: bool) -> None:
        """End the reading of an input from the store."""
        if not self.loading:
            return
        worker, token, task_id = self.loading.pop(0)
        host = self.workers[worker]
        if not readable:
            self.core.undispatched(worker, token, self.now_s)
        elif self.core.sent(worker, token):
            if host.linked and not host.broken:
                host.inbox.append(Sent(token, task_id))
                self._check_room(host)
            else:
                self.core.undispatched(worker, token, self.now_s)
        self.check()

    # Fleet

    def link(self, worker: WorkerId) -> None:
        """Open a worker's link, or open it anew."""
        host = self.workers[worker]
        if host.retired and worker not in self.known:
            return
        if host.linked:
            host.cut()
        host.linked = True
        self.known.add(worker)
        self.unheard_s.pop(worker, None)
        self.core.worker_up(host.facts(), host.report(), host.holding(), self.now_s)
        known = self.core.worker(worker)
        for token in host.running:
            wanted = known is not None and token in known.running
            assert wanted or Sent(token, TaskId(""), cancel=True) in host.inbox, (
                "it is told to stop"
            )
        for token, (_, status) in list(host.ended.items()):
            host.outbox.append(Said(host.report(), token, status=status))
        self.check()

    def cut(self, worker: WorkerId, *, crash: bool) -> None:
        """Cut a worker's link; with a crash its process starts anew."""
        host = self.workers[worker]
        was_linked = host.linked
        if crash:
            host.crash()
        else:
            host.cut()
        if was_linked:
            self.unheard_s[worker] = self.now_s
            self.core.link_lost(worker, self.now_s)
        self.check()

    def break_port(self, worker: WorkerId) -> None:
        """Let the next sends to a worker fail."""
        self.workers[worker].broken = self.workers[worker].linked

    def hush(self, worker: WorkerId) -> None:
        """Let a worker fall silent, or be heard again."""
        host = self.workers[worker]
        if host.linked:
            host.silent = not host.silent
            tell = self.core.silent if host.silent else self.core.heard
            self.unheard_s[worker] = self.now_s
            if not host.silent:
                del self.unheard_s[worker]
            tell(worker, self.now_s)
            self.check()

    def drain(self, worker: WorkerId) -> None:
        """Switch maintenance of a worker."""
        host = self.workers[worker]
        host.maintenance = not host.maintenance
        host.touch()

    def take_direct(self, worker: WorkerId) -> None:
        """Let somebody else take or leave a slot of a worker."""
        host = self.workers[worker]
        host.direct = 0 if host.direct else min(1, host.limit - host.used)
        host.touch()

    def upgrade(self, worker: WorkerId, functions: tuple[str, ...]) -> None:
        """Change what a worker may be sent."""
        host = self.workers[worker]
        host.functions = functions
        self.core.worker_facts(host.facts(), self.now_s)
        self.check()

    def retire(self, worker: WorkerId) -> None:
        """Remove a worker's entry, or put it back; forget it when it runs nothing."""
        host = self.workers[worker]
        host.retired = not host.retired
        if host.retired:
            self.core.retire(worker, self.now_s)
        else:
            self.core.reinstate(worker, self.now_s)
        if host.retired and not self.core.running(worker):
            host.cut()
            self.known.discard(worker)
            self.core.forget(worker, self.now_s)
            host.retired = False
        self.check()

    # The wire

    def read(self, worker: WorkerId) -> None:
        """Let a worker read one message."""
        if not self.workers[worker].silent:
            self.workers[worker].read_one()

    def end_run(self, worker: WorkerId, index: int, status: TaskStatus) -> None:
        """Let code end on a worker."""
        self.workers[worker].end_one(index, status)

    def hear(self, worker: WorkerId) -> None:
        """Deliver one message of a worker."""
        host = self.workers[worker]
        if host.silent or not host.outbox:
            return
        said = host.outbox.pop(0)
        host.told.append(said.report)
        if said.token is None:
            self.core.reported(worker, said.report, self.now_s)
        elif said.status is None:
            self.core.refused(worker, said.token, said.code, "", said.report, self.now_s)
        else:
            self._hear_end(host, said.token, said.status)
        self.check()

    def repeat(self, worker: WorkerId, index: int) -> None:
        """Deliver an old report of this link again; it frees nothing that it has not seen."""
        host = self.workers[worker]
        if host.told and not host.direct and not host.maintenance:
            old = host.told[index % len(host.told)]
            if not old.maintenance:
                self.core.reported(worker, old, self.now_s)
                self.check()

    def babble(self, worker: WorkerId) -> None:
        """Deliver what nobody sane would send; nothing may come of it."""
        before = len(self.trace)
        report = self.workers[worker].report()
        report.seen, report.available = -7, 10**9
        self.core.reported(worker, report, self.now_s)
        self.core.refused(worker, Token("?"), "no_slot", "", report, self.now_s)
        assert not self.core.finished(worker, Token("?"), Outcome(TaskStatus.FAILED), self.now_s)
        assert self.core.piece(WorkerId("nobody"), Token("?")) is None
        self.core.link_lost(WorkerId("nobody"), self.now_s)
        self.core.undispatched(worker, Token("?"), self.now_s)
        assert not self.core.cancel(TaskId("?"), "", self.now_s)
        assert len(self.trace) == before
        self.check()

    # Time

    def discover(self) -> None:
        """End the first round of discovery."""
        self.discovered = True
        self.core.discovered(self.now_s)
        self.check()

    def wait(self, seconds: float, *, late: bool = False) -> None:
        """Let time pass."""
        self.now_s += seconds
        if late:
            self.core.late(seconds, self.now_s)
            self.unheard_s = dict.fromkeys(self.unheard_s, self.now_s)
        else:
            self.core.tick(self.now_s)
            for worker, since_s in self.unheard_s.items():
                window_s = 30.0 if self.workers[worker].linked else 2.0
                lost = self.now_s - since_s >= window_s
                assert not (lost and self.core.running(worker)), "lost is lost"
        self.check()

    def run_down(self) -> None:
        """Heal everything and finish all work; nothing may be left."""
        self.discover()
        for host in self.workers.values():
            host.maintenance, host.direct = False, 0
            self.upgrade(host.id, tuple(FUNCTIONS))
            if host.retired:
                self.retire(host.id)
            self.link(host.id)
        for _ in range(DRAIN_ROUNDS):
            while self.loading:
                self.load(readable=True)
            for host in self.workers.values():
                while host.inbox or host.running or host.outbox:
                    self.read(host.id)
                    self.end_run(host.id, 0, TaskStatus.SUCCEEDED)
                    self.hear(host.id)
            self.wait(0.5)
            if not self.open:
                break
        assert not self.open, "everything drains"
        for worker in self.workers:
            self.core.forget(worker, self.now_s)
        self.wait(1.0)
        assert self.core.counts() == (0, 0, 0, 0, 0, 0)
        assert self.core.lanes() == []
        assert self.core.tasks() == []
        assert self.core.next_tick_s() is None

    # Checks

    def check(self) -> None:
        """Check what holds between any two events."""
        for round_ in range(DRAIN_ROUNDS):
            if not self.unsendable:
                break
            assert round_ < DRAIN_ROUNDS - 1, "a worker that cannot be sent to rests"
            worker, token = self.unsendable.pop(0)
            self.core.undispatched(worker, token, self.now_s)
        waiting = [task for task in self.open.values() if task.status is not TaskStatus.RUNNING]
        counts = self.core.counts()
        assert counts.tasks == len(self.open), "no task is lost"
        assert counts.waiting == len(waiting)
        assert counts.waiting_bytes == sum(task.size for task in waiting)
        assert counts.volatile == sum(not task.durable for task in self.open.values())
        for task in self.open.values():
            assert self.core.get(task.id) is task
        for task in self._eligible_tasks():
            idle = [host.id for host in self.workers.values() if self._could_run(host, task)]
            assert not idle, f"{task.id} waits while {idle} have a slot"
        for host in self.workers.values():
            self._check_ledger(host)

    def _eligible_tasks(self) -> list[LiveTask]:
        queued = [task for task in self.open.values() if task.status is TaskStatus.QUEUED]
        return [task for task in queued if self.discovered or task.id not in self.recovered]

    def _could_run(self, host: SlotWorker, task: LiveTask) -> bool:
        known = self.core.worker(host.id)
        reachable = host.linked and not host.silent and not host.retired
        return (
            known is not None and reachable and task.lane[2] in host.functions and known.ledger.free > 0
        )  # fmt: skip

    def _check_first(self, host: SlotWorker, task: LiveTask) -> None:
        """No earlier task that could run on this worker waits."""
        place = (task.request.priority, task.seq)
        for other in self._eligible_tasks():
            if other.lane[2] in host.functions:
                assert place < (other.request.priority, other.seq), (
                    f"{other.id} is before {task.id}"
                )

    def _check_best(self, host: SlotWorker, task: LiveTask) -> None:
        """Nobody who could run it has more free slots than the chosen one had."""
        chosen = self.core.worker(host.id)
        for other in self.workers.values():
            known = self.core.worker(other.id)
            if known is not None and chosen is not None and self._could_run(other, task):
                assert known.ledger.free <= chosen.ledger.free + 1

    def _check_told(self, task: LiveTask, outcome: Outcome) -> None:
        """A worker is told to stop when its caller has left or its time is over."""
        if task.worker is None or outcome.status not in (
            TaskStatus.CANCELLED, TaskStatus.TIMED_OUT,
        ):  # fmt: skip
            return
        host = self.workers[task.worker]
        token = task.token
        if token in host.running and host.linked and not host.broken:
            assert any(sent.token == token and sent.cancel for sent in host.inbox)

    def _check_room(self, host: SlotWorker) -> None:
        """A worker that nobody else uses gets no more dispatches than it has slots."""
        under_way = sum(not sent.cancel for sent in host.inbox)
        if not host.maintenance and not host.direct:
            assert under_way + host.used <= host.limit, "never over the limit"

    def _check_ledger(self, host: SlotWorker) -> None:
        """When nothing is on the wire, the ledger says what the worker would."""
        known = self.core.worker(host.id)
        loading = any(worker == host.id for worker, _, _ in self.loading)
        if known is None or not host.linked or host.broken:
            return
        on_wire = {sent.token for sent in host.inbox} | {said.token for said in host.outbox}
        held = on_wire | host.running.keys() | host.ended.keys() | known.loading
        assert known.running.keys() <= held, "what the core believes to run is somewhere"
        if host.inbox or host.outbox or loading:
            return
        assert known.ledger.free <= host.report().available

    def _hear_end(self, host: SlotWorker, token: Token, status: TaskStatus) -> None:
        task_id, _ = host.ended.get(token, (TaskId(""), status))
        task = self.open.get(task_id)
        current = task is not None and task.token == token and task.worker == host.id
        current = current and task is not None and task.status is TaskStatus.RUNNING
        why = None if status is TaskStatus.SUCCEEDED else failure("function_error")
        outcome = Outcome(status, token.encode() if why is None else None, why)
        accepted = self.core.finished(host.id, token, outcome, self.now_s)
        assert accepted is current, "accepted if and only if the token is the current one"
        assert not self.core.finished(host.id, token, outcome, self.now_s), "and only once"
        host.ended.pop(token, None)

    def _task(
        self, function: str, priority: int, durable: bool, within_s: float | None, stored: bool
    ) -> LiveTask:
        request = TaskRequest(
            function=function, contract=1, group="g", priority=priority,
            mode=Mode.WEBHOOK if durable else Mode.SYNC, input=b"" if stored else b"{}",
        )  # fmt: skip
        return LiveTask(
            TaskId(self.ids.next_id()), ("g", 1, function), request, Sink(), created_s=self.now_s,
            durable=durable, input_stored=stored and durable,
            deadline_s=None if within_s is None else self.now_s + within_s,
        )  # fmt: skip
