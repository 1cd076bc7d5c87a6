"""What tests of the scheduler are made of: short builders, and commands that are written down."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from balancer.core.events import HTTP, LINK, Held, WorkerFacts
from balancer.core.live_task import LiveTask
from balancer.core.scheduler import Scheduler, Settings
from shared.capability import FunctionSpec
from shared.errors import Failure, failure
from shared.ids import BootId, SequentialIds, TaskId, Token, WorkerId
from shared.slot_report import SlotReport
from shared.task import Mode, Outcome, Piece, TaskRequest
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GROUP = "g"
A, B, C = WorkerId("a:1"), WorkerId("b:1"), WorkerId("c:1")
NOW_S = 100.0

__all__ = ["GROUP", "HTTP", "LINK", "NOW_S", "A", "B", "C", "Held", "Recorder", "Rig", "Sink"]


class Sink:
    """A caller: keeps its outcomes, of which there must be one."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def piece(self, piece: Piece) -> None:
        """Drop a piece."""

    def finished(self, outcome: Outcome) -> None:
        """Keep the end."""
        self.outcomes.append(outcome)


class Recorder:
    """Commands that are written down: `log` in order as tuples, and the last of each kind by task."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []
        self.ends: dict[str, Outcome] = {}
        self.tokens: dict[str, list[Token]] = {}

    def dispatch(self, worker: WorkerId, task: LiveTask) -> None:
        """Write down a dispatch."""
        assert task.token is not None
        self.log.append(("dispatch", worker, task.id))
        self.tokens.setdefault(task.id, []).append(task.token)

    def cancel_attempt(self, worker: WorkerId, token: Token, reason: str) -> None:
        """Write down a cancel."""
        self.log.append(("cancel", worker, token, reason))

    def acknowledge(self, worker: WorkerId, token: Token) -> None:
        """Write down an acknowledgement."""
        self.log.append(("acknowledge", worker, token))

    def changed(self, task: LiveTask, event: str, code: str = "") -> None:
        """Write down a change; dispatches are written down once."""
        if event != "dispatched":
            self.log.append((str(event), task.id, code))

    def resolve(self, task: LiveTask, outcome: Outcome) -> None:
        """Write down an end, which comes once."""
        assert task.id not in self.ends
        assert task.status is outcome.status
        self.ends[task.id] = outcome
        self.log.append(("resolve", task.id, str(outcome.status), _code(outcome)))

    def demand(self, worker: WorkerId, count: int, best_priority: float) -> None:
        """Write down a demand."""
        self.log.append(("demand", worker, count, best_priority))


def _code(outcome: Outcome) -> str:
    return outcome.failure.code if outcome.failure else ""


class Rig:
    """A scheduler with recorded commands, and a clock that the test moves."""

    def __init__(self, settings: Settings | None = None, *, discovered: bool = True) -> None:
        self.seen = Recorder()
        self.now_s = NOW_S
        self.core = Scheduler(
            self.seen, SequentialIds("t"), Random(7), settings or Settings(retry_cap_s=4)
        )
        if discovered:
            self.core.discovered(self.now_s)

    # Fleet

    def facts(
        self, worker: WorkerId = A, functions: Iterable[str] = ("f",), *, boot: str = "b1",
        group: str = GROUP, contract: int = 1, eligible: Iterable[str] | None = None,
        weight: float = 1.0, kind: str = LINK, order: int = 0, idempotent: bool = False,
        retries: int = 0,
    ) -> WorkerFacts:  # fmt: skip
        """Return a worker's facts."""
        specs = {
            name: FunctionSpec(name=name, idempotent=idempotent, max_retries=retries)
            for name in functions
        }
        return WorkerFacts(
            worker=worker, boot=BootId(boot), group=group, contract=contract, functions=specs,
            eligible=frozenset(specs if eligible is None else eligible), weight=weight, kind=kind,
            order=order,
        )  # fmt: skip

    def up(
        self, worker: WorkerId = A, free: int = 1, functions: Iterable[str] = ("f",), *,
        limit: int = 10, used: int = 0, holding: Sequence[Held] = (), boot: str = "b1",
        group: str = GROUP, contract: int = 1, eligible: Iterable[str] | None = None,
        weight: float = 1.0, kind: str = LINK, order: int = 0, idempotent: bool = False,
        retries: int = 0,
    ) -> None:  # fmt: skip
        """Open a worker's link."""
        facts = self.facts(
            worker, functions, boot=boot, group=group, contract=contract, eligible=eligible,
            weight=weight, kind=kind, order=order, idempotent=idempotent, retries=retries,
        )  # fmt: skip
        self.core.worker_up(
            facts, SlotReport(available=free, limit=limit, used=used), holding, self.now_s
        )

    def report(
        self, worker: WorkerId = A, free: int = 1, *, seen: int = 0, limit: int = 10, used: int = 0,
        maintenance: bool = False,
    ) -> None:  # fmt: skip
        """Deliver a report."""
        report = SlotReport(
            seen=seen, available=free, limit=limit, used=used, maintenance=maintenance
        )
        self.core.reported(worker, report, self.now_s)

    # Tasks

    def task(
        self, name: str, function: str = "f", *, priority: float = 1, group: str = GROUP,
        contract: int = 1, mode: Mode = Mode.SYNC, durable: bool = False, within_s: float | None = None,
        wait_s: float | None = None, size: int = 2, stored: bool = False, attempts: int | None = None,
    ) -> LiveTask:  # fmt: skip
        """Return a task as the edge makes it."""
        request = TaskRequest(
            function=function, contract=contract, group=group, input=b"x" * size, priority=priority,
            mode=mode, max_attempts=attempts,
        )  # fmt: skip
        return LiveTask(
            TaskId(name), (group, contract, function), request, Sink(), created_s=self.now_s,
            durable=durable, input_stored=stored,
            deadline_s=None if within_s is None else self.now_s + within_s,
            queue_deadline_s=None if wait_s is None else self.now_s + wait_s,
        )  # fmt: skip

    def submit(self, name: str, function: str = "f", **wishes: object) -> LiveTask:
        """Submit a task that must be taken."""
        task = self.task(name, function, **wishes)  # pyright: ignore[reportArgumentType] # passed on as given
        refused = self.core.submit(task, self.now_s)
        assert refused is None
        return task

    @staticmethod
    def id_of(name: str) -> TaskId:
        """Return the id of a task by its name in the test."""
        return TaskId(name)

    @staticmethod
    def worker_of(name: str) -> WorkerId:
        """Return the id of a worker by its name in the test."""
        return WorkerId(name)

    @staticmethod
    def token_of(token: str) -> Token:
        """Return a token that the test made up."""
        return Token(token)

    def token(self, name: str) -> Token:
        """Return the last token of a task."""
        return self.seen.tokens[name][-1]

    def finish(self, name: str, worker: WorkerId = A) -> bool:
        """End the last attempt of a task well."""
        outcome = Outcome(TaskStatus.SUCCEEDED, b"1")
        return self.core.finished(worker, self.token(name), outcome, self.now_s)

    def fail(
        self, name: str, code: str = "function_error", worker: WorkerId = A,
        status: TaskStatus = TaskStatus.FAILED,
    ) -> bool:  # fmt: skip
        """End the last attempt of a task badly."""
        outcome = Outcome(status, None, failure(code))
        return self.core.finished(worker, self.token(name), outcome, self.now_s)

    def refuse(
        self,
        name: str,
        free: int = 0,
        *,
        seen: int = 1,
        code: str = "no_slot",
        worker: WorkerId = A,
    ) -> None:
        """Refuse the last attempt of a task."""
        report = SlotReport(seen=seen, available=free, limit=10)
        self.core.refused(worker, self.token(name), code, "", report, self.now_s)

    # What came of it

    def wait(self, seconds: float) -> None:
        """Let time pass, then tick."""
        self.now_s += seconds
        self.core.tick(self.now_s)

    def commands(self) -> list[tuple[object, ...]]:
        """Return the commands since the last call."""
        found, self.seen.log = self.seen.log, []
        return found

    def dispatched(self) -> list[tuple[object, object]]:
        """Return (task, worker) of the dispatches since the last call of `commands`."""
        return [(entry[2], entry[1]) for entry in self.commands() if entry[0] == "dispatch"]

    def end(self, name: str) -> tuple[str, str]:
        """Return the status and code that a task ended with."""
        outcome = self.seen.ends[name]
        return str(outcome.status), _code(outcome)

    def refusal(self, task: LiveTask) -> Failure:
        """Submit a task that must not be taken; return why."""
        refused = self.core.submit(task, self.now_s)
        assert refused is not None
        return refused
