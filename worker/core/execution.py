"""One attempt while it holds a slot: from the moment the slot is taken until its code has ended.

Two things end an attempt, and they are kept apart: the *decision*, what its owner is told, comes
once, and the first one counts; the *end of the code* gives the slot back. A timed-out attempt is
decided at once and keeps its slot until its code has really ended.

    reserved ──began──▶ running ──ended──▶ ended            decided by what the code returned
        │                  │ told to stop                   decided: timed out or cancelled
        │                  ▼
        │              cancelling ──ended──▶ ended
        │                  │ still there after STUCK_AFTER_S
        │                  ▼
        └──ended──▶      stuck ──ended──▶ ended             a thread that nothing can kill
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from shared.errors import failure
from shared.task import Outcome
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.ids import TaskId, Token

STUCK_AFTER_S = 5.0  # code that was told to stop and cleans up properly is gone by then
NEVER = float("inf")


class Phase(StrEnum):
    """Where an attempt is."""

    RESERVED = "reserved"  # its slot is taken, its input or its process is still on the way
    RUNNING = "running"
    CANCELLING = "cancelling"  # decided; its code was told to stop
    STUCK = "stuck"  # decided; its code was told to stop and did not
    ENDED = "ended"


class Happening(StrEnum):
    """What changes a phase."""

    BEGAN = "began"
    STOPPED = "stopped"
    OVERDUE = "overdue"
    ENDED = "ended"


TRANSITIONS: dict[tuple[Phase, Happening], Phase] = {
    (Phase.RESERVED, Happening.BEGAN): Phase.RUNNING,
    (Phase.RESERVED, Happening.STOPPED): Phase.CANCELLING,
    (Phase.RESERVED, Happening.ENDED): Phase.ENDED,
    (Phase.RUNNING, Happening.STOPPED): Phase.CANCELLING,
    (Phase.RUNNING, Happening.ENDED): Phase.ENDED,
    (Phase.CANCELLING, Happening.BEGAN): Phase.CANCELLING,  # a process that came up too late
    (Phase.CANCELLING, Happening.OVERDUE): Phase.STUCK,
    (Phase.CANCELLING, Happening.ENDED): Phase.ENDED,
    (Phase.STUCK, Happening.BEGAN): Phase.STUCK,
    (Phase.STUCK, Happening.ENDED): Phase.ENDED,
}

# To look a member up in its class costs as much as a call, and these are wanted for every attempt.
_RESERVED = Phase.RESERVED
_RUNNING = Phase.RUNNING
_BEGAN = Happening.BEGAN
_ENDED = Happening.ENDED


class Execution:
    """One attempt of a task that holds a slot.

    Attributes:
        token: names the attempt.
        task_id: the task it is of.
        function: name of the function.
        attempt: number of the attempt, for display.
        durable: its result outlives the balancer that asked for it.
        timeout_s: limit of the run, counted from `began`; None for none.
        deadline_s: monotonic time at which the task must have ended; None for none.
        phase: changed by the methods here only.
        wake_s: monotonic time at which `Executions.tick` looks at it again.
        started_s: when its code began; None before.
        outcome: the decision; None until there is one.
    """

    __slots__ = (
        "attempt",
        "deadline_s",
        "durable",
        "function",
        "outcome",
        "phase",
        "started_s",
        "task_id",
        "timeout_s",
        "token",
        "wake_s",
    )

    def __init__(
        self,
        token: Token,
        task_id: TaskId,
        function: str,
        attempt: int = 1,
        durable: bool = False,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
    ) -> None:
        self.token = token
        self.task_id = task_id
        self.function = function
        self.attempt = attempt
        self.durable = durable
        self.timeout_s = timeout_s
        self.deadline_s = deadline_s
        self.phase = _RESERVED
        self.wake_s = NEVER if deadline_s is None else deadline_s
        self.started_s: float | None = None
        self.outcome: Outcome | None = None

    @property
    def stop_s(self) -> float | None:
        """Return the monotonic time at which its code is stopped; None without a limit."""
        return None if self.wake_s == NEVER or self.outcome is not None else self.wake_s

    def begin(self, now_s: float) -> None:
        """Note that the code starts now; the limit of the run counts from here."""
        self._apply(_BEGAN)
        if self.phase is not _RUNNING:
            return
        self.started_s = now_s
        if self.timeout_s is not None:
            limit_s, deadline_s = now_s + self.timeout_s, self.deadline_s
            self.wake_s = limit_s if deadline_s is None or limit_s < deadline_s else deadline_s

    def stop(self, outcome: Outcome, now_s: float) -> bool:
        """Decide an attempt whose code is still there; False when it was decided before."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self._apply(Happening.STOPPED)
        self.wake_s = now_s + STUCK_AFTER_S
        return True

    def end(self, outcome: Outcome) -> bool:
        """Note that the code has ended; True when `outcome` is the decision, False when it is late."""
        self._apply(_ENDED)
        self.wake_s = NEVER
        if self.outcome is not None:
            return False
        self.outcome = outcome
        return True

    def overdue(self) -> None:
        """Note that the code goes on although it was told to stop."""
        self._apply(Happening.OVERDUE)
        self.wake_s = NEVER

    def _apply(self, happening: Happening) -> None:
        following = TRANSITIONS.get((self.phase, happening))
        assert following is not None, f"no transition from {self.phase} by {happening}"
        self.phase = following


E = TypeVar("E", bound=Execution)


class Due(NamedTuple, Generic[E]):
    """What a tick found.

    Attributes:
        timed_out: decided now; their code is to be stopped.
        stuck: their code should have ended by now.
    """

    timed_out: list[E]
    stuck: list[E]


class Executions(Generic[E]):
    """All attempts that hold slots, by token; in the order in which they came.

    There are no more of them than slots, so a tick looks at all, and only when one can be due: the
    hot path pays one comparison for its time-out, and nothing to take it back.

    Attributes:
        get: returns the attempt of a token while it holds a slot; None when there is none.
    """

    __slots__ = ("_by_token", "_earliest_s", "get")

    def __init__(self) -> None:
        self._by_token: dict[str, E] = {}
        self.get: Callable[[str], E | None] = self._by_token.get
        self._earliest_s = NEVER

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[E]:
        return iter(list(self._by_token.values()))

    def add(self, execution: E) -> None:
        """Take in an attempt whose slot has been taken."""
        self._by_token[execution.token] = execution
        if execution.wake_s < self._earliest_s:
            self._earliest_s = execution.wake_s

    def watch(self, execution: E) -> None:
        """Heed a wake time that was set or changed."""
        if execution.wake_s < self._earliest_s:
            self._earliest_s = execution.wake_s

    def remove(self, execution: E) -> None:
        """Forget an attempt whose code has ended."""
        del self._by_token[execution.token]

    def tick(self, now_s: float) -> Due[E]:
        """Decide the attempts whose time is up and find those that did not end in time."""
        due: Due[E] = Due([], [])
        if now_s < self._earliest_s:
            return due
        self._earliest_s = NEVER
        for execution in self._by_token.values():
            if execution.wake_s <= now_s:
                if execution.stop(timed_out(), now_s):
                    due.timed_out.append(execution)
                else:
                    execution.overdue()
                    due.stuck.append(execution)
            self.watch(execution)
        return due


def timed_out() -> Outcome:
    """Return the outcome of an attempt whose time was up."""
    return Outcome(TaskStatus.TIMED_OUT, failure=failure("timeout"))


def cancelled() -> Outcome:
    """Return the outcome of an attempt that somebody cancelled."""
    return Outcome(TaskStatus.CANCELLED, failure=failure("cancelled"))


def failed(code: str, message: str | None = None) -> Outcome:
    """Return the outcome of an attempt that failed for a reason of ours."""
    return Outcome(TaskStatus.FAILED, failure=failure(code, message))
