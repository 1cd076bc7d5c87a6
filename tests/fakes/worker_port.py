"""A worker as the engine sees it: a port that keeps what it is told, and answers when the test says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from balancer.core.events import LINK, Held, WorkerFacts
from shared.capability import FunctionSpec
from shared.errors import failure
from shared.ids import BootId, Token, WorkerId
from shared.slot_report import SlotReport
from shared.task import Outcome
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from balancer.core.live_task import LiveTask
    from balancer.engine import Engine
    from shared.ids import TaskId

FUNCTIONS = {
    "hello": FunctionSpec(name="hello", input_schema={"type": "object", "required": ["name"]}),
    "plain": FunctionSpec(name="plain"),
    "flaky": FunctionSpec(name="flaky", max_retries=1, retry_delay_s=1.0),
    "pour": FunctionSpec(name="pour", streaming=True),
}


class ScriptedWorker:
    """One worker of the group `default`, linked to an engine.

    Attributes:
        sent: what was dispatched: (task id, token, body, remaining seconds), in order.
        cancelled: tokens whose attempts were ended.
        acknowledged: tokens whose results may be forgotten.
        credits: (token, bytes) of streams.
        closed: dispatches find the way closed.
    """

    def __init__(self, engine: Engine, name: str = "w:1", *, slots: int = 2) -> None:
        self.id = WorkerId(name)
        self.sent: list[tuple[TaskId, Token, bytes, float | None]] = []
        self.cancelled: list[Token] = []
        self.acknowledged: list[Token] = []
        self.credits: list[tuple[Token, int]] = []
        self.demands: list[tuple[int, float]] = []
        self.closed = False
        self._engine = engine
        self._slots = slots
        self._running: set[Token] = set()

    # The engine's port

    def dispatch(self, task: LiveTask, body: bytes, remaining_s: float | None) -> bool:
        """Take a dispatch unless the way is closed."""
        assert task.token is not None
        if self.closed:
            return False
        self.sent.append((task.id, task.token, body, remaining_s))
        self._running.add(task.token)
        return True

    def cancel(self, token: Token, reason: str) -> None:
        """Keep a cancel."""
        self.cancelled.append(token)

    def ack(self, token: Token) -> None:
        """Keep an acknowledgement."""
        self.acknowledged.append(token)

    def credit(self, token: Token, size: int) -> None:
        """Keep a credit."""
        self.credits.append((token, size))

    def demand(self, count: int, best_priority: float) -> None:
        """Keep a demand."""
        self.demands.append((count, best_priority))

    # The test's verbs

    def link(self, boot: str = "boot", holding: Sequence[Held] = ()) -> None:
        """Come up, for the first time or again."""
        facts = WorkerFacts(
            worker=self.id, boot=BootId(boot), group="default", contract=1, functions=FUNCTIONS,
            eligible=frozenset(FUNCTIONS), kind=LINK,
        )  # fmt: skip
        self._engine.worker_up(self, facts, self.report(seen=0), holding)

    def report(self, *, seen: int | None = None) -> SlotReport:
        """Return the slots as they are; everything that was sent has been seen unless told otherwise."""
        used = len(self._running)
        return SlotReport(
            seen=len(self.sent) if seen is None else seen, available=self._slots - used,
            limit=self._slots, used=used,
        )  # fmt: skip

    def finish(self, token: Token, result: bytes | None = b'"done"') -> None:
        """End an attempt well, and tell the slots."""
        self._end(token, Outcome(TaskStatus.SUCCEEDED, result))

    def fail(self, token: Token, code: str = "function_error") -> None:
        """End an attempt badly, and tell the slots."""
        self._end(token, Outcome(TaskStatus.FAILED, None, failure(code)))

    def refuse(self, token: Token, code: str = "no_slot") -> None:
        """Give a dispatch back."""
        self._running.discard(token)
        self._engine.refused(self.id, token, code, "", self.report())

    def _end(self, token: Token, outcome: Outcome) -> None:
        task_id = next(sent[0] for sent in self.sent if sent[1] == token)
        self._running.discard(token)
        self._engine.finished(self.id, token, task_id, outcome)
        self._engine.reported(self.id, self.report())
