"""The witness: sees everything that happens in a world, and refuses what must never happen.

The balancer's engine, the functions, the store and the callers tell it what they do, at the moment
they do it. It keeps its own model of the queues and its own record of attempts and of running code,
and checks each event against them. What can only be judged from a distance is in `invariants`.
"""

from __future__ import annotations

import json
from collections import Counter
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NoReturn, cast

from shared.task import Mode
from shared.task_state import TaskEvent, TaskStatus
from tests.simulation.cases import AttemptCase, Case, Fate, Order, Queues, Run, Stand, Violation
from tests.simulation.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.live_task import LiveTask
    from shared.ids import LaneKey, TaskId
    from shared.task import Outcome
    from tests.simulation.virtual_time import Process, VirtualTime

TASK_ATTEMPTS = 3
RETRIES_OF = {"retried": 2}  # attempts after the first that the functions declare

STATUS_AFTER = {
    TaskEvent.DISPATCHED: TaskStatus.RUNNING,
    TaskEvent.ADOPTED: TaskStatus.RUNNING,
    TaskEvent.REFUSED: TaskStatus.QUEUED,
    TaskEvent.LOST: TaskStatus.QUEUED,
    TaskEvent.RETRIED: TaskStatus.SCHEDULED,
    TaskEvent.DUE: TaskStatus.QUEUED,
}
STAND_BEFORE = {
    TaskEvent.DISPATCHED: (Stand.QUEUED,),
    TaskEvent.ADOPTED: (Stand.QUEUED, Stand.HELD_BACK, Stand.SCHEDULED),
    TaskEvent.REFUSED: (Stand.RUNNING,),
    TaskEvent.LOST: (Stand.RUNNING,),
    TaskEvent.RETRIED: (Stand.RUNNING,),
    TaskEvent.DUE: (Stand.SCHEDULED,),
}
FATE_AFTER = {
    TaskEvent.REFUSED: Fate.TAKEN_BACK,
    TaskEvent.LOST: Fate.LOST,
    TaskEvent.RETRIED: Fate.SPENT,
}


class Witness:
    """Records what happens and checks each event.

    Args:
        time: the world's.

    Attributes:
        cases: every task, by its number.
        by_id: the same, by task id, once it has one.
        attempts, runs: by token.
        queues: the model of the balancer's queues.
        boot: number of the balancer process that lives.
        discovered: its first round of discovery has ended.
        welcomed: worker processes that it has been linked with.
        lanes: where something waits since the last look; see `invariants.settled`.
        deadlines: (moment, number of the case) of open cases.
        stage: the code that runs in each process, by token.
        acted: processes whose code began or ended since the last look.
        happened: how often what the scheduler can do was done.
        on_poison: what happens to a process whose code takes it down.
        problem: the first guarantee that was broken.
    """

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.trace = Trace(time)
        self.cases: dict[int, Case] = {}
        self.by_id: dict[str, Case] = {}
        self.attempts: dict[str, AttemptCase] = {}
        self.runs: dict[str, Run] = {}
        self.queues = Queues()
        self.boot = 0
        self.discovered = False
        self.welcomed: set[Process] = set()
        self.lanes: dict[LaneKey, None] = {}
        self.deadlines: list[tuple[float, int]] = []
        self.stage: dict[Process, dict[str, Run]] = {}
        self.acted: dict[Process, None] = {}
        self.on_poison: Callable[[Process], None] = lambda process: process.kill()
        self.happened: Counter[str] = Counter()
        self.problem: str | None = None
        self._places = 0
        self._commits: dict[str, int] = {}
        self._recovered: set[str] = set()  # restored and not begun by the balancer that lives

    def fail(self, text: str) -> NoReturn:
        """Note that a guarantee is broken, even when somebody swallows what is raised.

        Raises:
            Violation: always.
        """
        self.broken(text)
        raise Violation(text)

    def broken(self, text: str) -> None:
        """Note that a guarantee is broken."""
        self.trace.note("BROKEN", text)
        if self.problem is None:
            self.problem = text

    def check(self, holds: bool, text: str) -> None:
        """Fail unless something holds."""
        if not holds:
            self.fail(text)

    # Callers

    def ordered(self, order: Order) -> Case:
        """Note that a caller is about to ask."""
        case = self.cases[order.n] = Case(order)
        return case

    # Tasks at the balancer

    def made(self, task: LiveTask) -> None:
        """Note that a request has become a task."""
        case = self.cases[int(task.request.correlation_id)]
        case.task, case.task_id = task, task.id
        self.by_id[task.id] = case
        if task.deadline_s is not None:
            heappush(self.deadlines, (task.deadline_s, case.order.n))

    def queued(self, task: LiveTask) -> None:
        """Note that a task is handed to the scheduler."""
        case = self.by_id[task.id]
        self._enter(case)
        self.trace.note("take", task.id, case.order.priority, "/".join(map(str, task.lane)))

    def turned_away(self, case: Case, code: str) -> None:
        """Note that a request was refused, by the queue or before it."""
        self.trace.note("turn away", case.order.n, code)
        self.happened[f"turned away {code}"] += 1
        if case.stand is Stand.QUEUED:
            self.queues.remove(case)
        case.stand = Stand.ENDED

    def restored(self, tasks: list[LiveTask]) -> None:
        """Note what a new balancer has taken over from the disk."""
        expected = {case.task_id for case in self.cases.values() if case.kept and not case.finished}
        found = [task.id for task in tasks]
        self.check(set(found) == expected, f"recovered {len(found)} of {len(expected)} tasks")
        commits = [self._commits[task_id] for task_id in found]
        self.check(commits == sorted(commits), "recovered out of the order of acceptance")
        for task in tasks:
            case = self.by_id[task.id]
            case.task = task
            self._place(case)
            self._recovered.add(task.id)
            case.stand = Stand.HELD_BACK if task.due_s is None else Stand.SCHEDULED
            if task.deadline_s is not None:
                heappush(self.deadlines, (task.deadline_s, case.order.n))
            self.trace.note("restore", task.id)

    def discovery_ends(self) -> None:
        """Note that recovered tasks may go."""
        self.discovered = True
        for case in self.cases.values():
            if case.stand is Stand.HELD_BACK:
                self._wait(case)

    def changed(self, task: LiveTask, event: TaskEvent, code: str) -> None:
        """Check what happens to a task that goes on."""
        case = self._held(task)
        self.trace.note(event.value, task.id, task.token, code)
        self.happened[event.value] += 1
        self.check(task.status is STATUS_AFTER[event], f"{task.id} is {task.status} after {event}")
        self.check(case.stand in STAND_BEFORE[event], f"{task.id}: {event} while {case.stand}")
        if case.stand is Stand.QUEUED:
            self.queues.remove(case)
        if event in (TaskEvent.DISPATCHED, TaskEvent.ADOPTED):
            case.stand = Stand.RUNNING
            self._begin_attempt(case, task, adopted=event is TaskEvent.ADOPTED)
            return
        if event is not TaskEvent.DUE:
            self._end_attempt(task, FATE_AFTER[event])
        if event is TaskEvent.RETRIED:
            case.stand = Stand.SCHEDULED
        elif event is TaskEvent.DUE and not self.discovered and task.id in self._recovered:
            case.stand = Stand.HELD_BACK
        else:
            self._wait(case)

    def resolved(self, task: LiveTask, outcome: Outcome) -> None:
        """Check how a task ends."""
        case = self._held(task)
        why = outcome.failure.code if outcome.failure else ""
        self.trace.note("end", task.id, outcome.status.value, why, task.token)
        self.happened[f"{outcome.status.value} {why}".strip()] += 1
        self.check(task.status is outcome.status, f"{task.id} is {task.status}: {outcome.status}")
        self.check(
            outcome.ok is (outcome.failure is None), f"{task.id}: neither result nor failure"
        )
        self.check(outcome.attempts <= allowed_attempts(case), f"{task.id}: too many attempts")
        if outcome.ok:
            self._check_result(case, task, outcome)
        if case.stand is Stand.QUEUED:
            self.queues.remove(case)
        case.stand = Stand.ENDED
        case.outcome = outcome
        case.ended_s = self.time.now_s
        if task.token is not None:
            self._end_attempt(task, Fate.OVER)

    # The disk

    def accepted_on_disk(self, task_id: TaskId) -> None:
        """Note that a task is kept."""
        self.by_id[task_id].kept = True
        self._commits[task_id] = len(self._commits)

    def finished_on_disk(self, task_id: TaskId, outcome: Outcome, *, again: bool) -> None:
        """Check that an end is committed once."""
        case = self.by_id[task_id]
        self.trace.note("commit", task_id, outcome.status.value)
        self.check(not again and not case.finished, f"{task_id} is finished twice")
        said = case.outcome
        self.check(
            said is not None and said.status is outcome.status,
            f"{task_id} is kept as {outcome.status}",
        )
        case.finished = True

    # Code

    def began(self, process: Process, task_id: str, token: str) -> None:
        """Check that code may begin."""
        self.trace.note("begin", process.name, task_id, token)
        case = self.by_id.get(task_id)
        self.check(token not in self.runs, f"{token} of {task_id} runs twice")
        run = self.runs[token] = Run(token, process, self.time.now_s)
        self.stage.setdefault(process, {})[token] = run
        self.acted[process] = None
        if case is None:
            return  # a direct task of the worker
        attempt = self.attempts[token]
        self.check(attempt.case is case, f"{token} is not an attempt of {task_id}")
        self.check(
            attempt.fate is not Fate.TAKEN_BACK,
            f"{token} of {task_id} begins although it was taken back",
        )
        case.runs.append(run)
        if case.order.mode is not Mode.WEBHOOK and case.order.lane[2] in ("plain", "extra"):
            limit = allowed_attempts(case)
            self.check(len(case.runs) <= limit, f"{task_id} began {len(case.runs)} times")

    def ended(self, process: Process, token: str, how: str) -> None:
        """Note that code has ended."""
        run = self.stage[process].pop(token)
        run.how = how
        self.acted[process] = None
        if process.alive:
            self.trace.note("stop", process.name, token, how)

    def poisoned(self, process: Process) -> None:
        """Note that code takes its process down."""
        self.trace.note("poisoned", process.name)
        self.time.after(0.0, lambda: self.on_poison(process))

    # Processes

    def balancer_starts(self) -> None:
        """Note that a new balancer has begun."""
        self.boot += 1
        self.discovered = False
        self.welcomed.clear()
        self._recovered.clear()
        self.trace.note("balancer starts", self.boot)
        self.happened["balancer starts"] += 1

    def balancer_dies(self) -> None:
        """Note that the balancer was killed: calls break, what is on disk is all there is."""
        self.queues = Queues()
        self.lanes.clear()
        self.deadlines.clear()
        for case in self.cases.values():
            if case.durable:
                self._forget(case)
            elif case.stand is not Stand.ENDED:
                case.broken = True
                case.stand = Stand.ENDED
                self._over(case)

    def overdue(self, before_s: float) -> Case | None:
        """Take out and return an open case whose deadline was before a moment, or None."""
        while self.deadlines and self.deadlines[0][0] < before_s:
            case = self.cases[heappop(self.deadlines)[1]]
            if case.stand not in (Stand.NEW, Stand.ENDED):
                return case
        return None

    # Private

    def _forget(self, case: Case) -> None:
        self.check(case.kept or not case.promised, f"{case.task_id} was accepted and is not kept")
        task, case.task = case.task, None
        if not case.finished and case.kept:
            if task is not None and case.outcome is not None and case.outcome.ok:
                # Its worker has the result until it is on disk, and offers it to the next balancer.
                self.attempts[task.token or ""].fate = Fate.CURRENT
            case.stand = Stand.NEW
            case.outcome = None
        elif not case.kept:
            case.stand = Stand.ENDED

    def _over(self, case: Case) -> None:
        task, case.task = case.task, None
        if task is not None and task.token in self.attempts:
            self.attempts[task.token].end(Fate.OVER, self.time.now_s)

    def _held(self, task: LiveTask) -> Case:
        case = self.by_id[task.id]
        self.check(case.task is task, f"{task.id} is not the task that was taken")
        self.check(case.stand is not Stand.ENDED, f"{task.id} has ended already")
        return case

    def _enter(self, case: Case) -> None:
        self.check(case.stand is Stand.NEW, f"{case.task_id} is taken twice")
        self._place(case)
        self._wait(case)

    def _place(self, case: Case) -> None:
        self._places += 1
        case.place = self._places

    def _wait(self, case: Case) -> None:
        case.stand = Stand.QUEUED
        self.queues.add(case)
        self.lanes[case.order.lane] = None

    def _begin_attempt(self, case: Case, task: LiveTask, *, adopted: bool) -> None:
        token = task.token
        assert token is not None
        known = self.attempts.get(token)
        self._recovered.discard(task.id)
        if adopted:
            self.check(known is not None and known.case is case, f"{task.id} adopts {token}")
        else:
            self.check(known is None, f"{token} is used twice")
            for run in case.runs:
                self.check(self._disowned(run), f"{task.id} runs as {token} and as {run.token}")
        # Whoever else ran it, for an earlier balancer perhaps, is told to stop when it is met.
        for run in case.runs:
            attempt = self.attempts[run.token]
            if attempt.fate is Fate.CURRENT:
                attempt.end(Fate.OVER, self.time.now_s)
        self.attempts[token] = AttemptCase(case, self.boot)

    def _end_attempt(self, task: LiveTask, fate: Fate) -> None:
        assert task.token is not None
        self.attempts[task.token].end(fate, self.time.now_s)
        run = self.runs.get(task.token)
        if fate is Fate.TAKEN_BACK and run is not None and run.process.alive:
            self.fail(f"{task.token} of {task.id} is taken back although it has begun")

    def _disowned(self, run: Run) -> bool:
        """Tell whether another attempt may begin although this one did, or even goes on."""
        if not run.process.alive:
            return True
        attempt = self.attempts[run.token]
        if attempt.fate is not Fate.CURRENT:
            return True
        # An earlier balancer's: the one that lives cannot know of it before it meets the worker.
        return attempt.boot != self.boot and run.process not in self.welcomed

    def _check_result(self, case: Case, task: LiveTask, outcome: Outcome) -> None:
        run = self.runs.get(task.token or "")
        self.check(
            run is not None and run.how == "returned",
            f"{task.id}: the result of code that did not return",
        )
        if case.order.lane[2] == "pieces":
            return
        told = cast("dict[str, object]", json.loads(outcome.result or b"{}"))
        self.check(told.get("n") == case.order.n, f"{task.id} has the result of another task")
        self.check(told.get("token") == task.token, f"{task.id} has a stale result: {told}")


def allowed_attempts(case: Case) -> int:
    """Return how many attempts a task may spend."""
    wished = case.order.max_attempts
    if wished is None:
        wished = RETRIES_OF.get(case.order.lane[2], 0) + 1
    return max(1, min(wished, TASK_ATTEMPTS))
