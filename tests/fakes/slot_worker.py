"""A worker as the scheduler's world tests see it: it really holds slots, and its wire really delays."""

from __future__ import annotations

from typing import NamedTuple

from balancer.core.events import Held, WorkerFacts
from shared.capability import FunctionSpec
from shared.ids import BootId, TaskId, Token, WorkerId
from shared.slot_report import SlotReport
from shared.task_state import TaskStatus

FUNCTIONS = {
    "plain": FunctionSpec(name="plain"),
    "safe": FunctionSpec(name="safe", idempotent=True),
    "retry": FunctionSpec(name="retry", max_retries=2, retry_delay_s=0.5),
}


class Sent(NamedTuple):
    """A dispatch or a cancel on its way to the worker."""

    token: Token
    task_id: TaskId
    cancel: bool = False


class Said(NamedTuple):
    """A message on its way to the balancer; a refusal has a code, an end a status."""

    report: SlotReport
    token: Token | None = None
    code: str = ""
    status: TaskStatus | None = None


class SlotWorker:
    """One worker process and its link.

    Args:
        worker_id: its id.
        limit: its slots.
        functions: names of what it may be sent.
        order: its place in workers.json.
    """

    def __init__(self, worker_id: str, limit: int, functions: tuple[str, ...], order: int) -> None:
        self.id = WorkerId(worker_id)
        self.limit = limit
        self.functions = functions
        self.order = order
        self.boots = 0
        self.linked = False
        self.broken = False  # the link is closed, but nobody has noticed
        self.silent = False
        self.retired = False
        self.maintenance = False
        self.direct = 0  # slots taken by others
        self.inbox: list[Sent] = []
        self.outbox: list[Said] = []
        self.told: list[SlotReport] = []  # reports delivered on this link
        self.read = 0  # dispatches read on this link
        self.running: dict[Token, TaskId] = {}
        self.ended: dict[Token, tuple[TaskId, TaskStatus]] = {}  # not acknowledged
        self.runs: list[TaskId] = []

    def facts(self) -> WorkerFacts:
        """Return what it announces now."""
        return WorkerFacts(
            worker=self.id, boot=BootId(f"{self.id}/{self.boots}"), group="g", contract=1,
            functions=FUNCTIONS, eligible=frozenset(self.functions), order=self.order,
        )  # fmt: skip

    @property
    def used(self) -> int:
        """Return the slots that are held by code."""
        return len(self.running) + self.direct

    def report(self) -> SlotReport:
        """Cut a report."""
        free = 0 if self.maintenance else max(0, self.limit - self.used)
        return SlotReport(
            seen=self.read, available=free, limit=self.limit, used=self.used, maintenance=self.maintenance
        )  # fmt: skip

    def touch(self) -> None:
        """Say how the slots are."""
        if self.linked:
            self.outbox.append(Said(self.report()))

    def read_one(self) -> None:
        """Read one message of the balancer."""
        if not self.inbox:
            return
        sent = self.inbox.pop(0)
        if sent.cancel:
            if self.running.pop(sent.token, None) is not None:
                self.touch()
            return
        self.read += 1
        if self.maintenance or self.used >= self.limit:
            code = "maintenance" if self.maintenance else "no_slot"
            self.outbox.append(Said(self.report(), sent.token, code))
        else:
            self.running[sent.token] = sent.task_id
            self.runs.append(sent.task_id)
            self.touch()

    def end_one(self, index: int, status: TaskStatus) -> None:
        """Let the code of one attempt end."""
        if self.running:
            token = list(self.running)[index % len(self.running)]
            task_id = self.running.pop(token)
            self.ended[token] = (task_id, status)
            if self.linked:
                self.outbox.append(Said(self.report(), token, status=status))
                self.touch()

    def holding(self) -> list[Held]:
        """Return what it names when a link opens."""
        running = [Held(token, task_id, False) for token, task_id in self.running.items()]
        return running + [Held(token, task_id, True) for token, (task_id, _) in self.ended.items()]

    def cut(self) -> None:
        """Lose the link and what was on it."""
        self.linked = self.broken = self.silent = False
        self.inbox.clear()
        self.outbox.clear()
        self.told.clear()
        self.read = 0

    def crash(self) -> None:
        """Die and start again: everything is gone."""
        self.cut()
        self.boots += 1
        self.direct = 0
        self.running.clear()
        self.ended.clear()
