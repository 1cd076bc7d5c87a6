"""What the simulation knows to be true: every task with all that became of it, every run of code.

This is not what any part of the product believes. A *case* is one task as its caller sees it; a *run*
is one stretch of code that really ran. The witness writes it down as it happens and the invariants
compare the product with it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from shared.task import Mode

if TYPE_CHECKING:
    from balancer.core.live_task import LiveTask
    from shared.ids import LaneKey, TaskId
    from shared.task import Outcome
    from tests.simulation.virtual_time import Process


class Violation(AssertionError):
    """A guarantee is broken."""


class Stand(Enum):
    """Where a case stands with the balancer that lives."""

    NEW = auto()  # not taken yet
    HELD_BACK = auto()  # recovered; waits for the end of discovery
    QUEUED = auto()
    SCHEDULED = auto()
    RUNNING = auto()
    ENDED = auto()


@dataclass(slots=True, kw_only=True)
class Order:
    """What a caller will ask for.

    Attributes:
        n: its number; unique in a world.
        at_s: when, from the start.
        mode: how; webhook is durable.
        lane: group, contract and function.
        fields: the input.
        priority, deadline_s, timeout_s, max_attempts: as in the request.
        leaves_after_s: the caller gives up then; None for never.
        webhook: a durable one wants its result delivered.
        reads_per_s: bytes that the reader of a stream takes a second.
    """

    n: int
    at_s: float
    mode: Mode
    lane: LaneKey
    fields: dict[str, object]
    priority: int = 1
    deadline_s: float | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    leaves_after_s: float | None = None
    webhook: bool = True
    reads_per_s: float = 1e6


class Case:
    """One task.

    Attributes:
        order: what was asked for.
        task: as the balancer that lives holds it; None before and after.
        task_id: its id.
        place: place among equals; grows with acceptance.
        stand: where it is.
        outcome: how it ended for the balancer, or None.
        ended_s: when.
        kept: it is on disk.
        promised: its caller was told that it is accepted.
        finished: its end is on disk.
        broken: its caller's connection broke with the balancer.
        left: its caller has gone.
        runs: its code, oldest first.
    """

    __slots__ = (
        "broken",
        "ended_s",
        "finished",
        "kept",
        "left",
        "order",
        "outcome",
        "place",
        "promised",
        "runs",
        "stand",
        "task",
        "task_id",
    )

    def __init__(self, order: Order) -> None:
        self.order = order
        self.task: LiveTask | None = None
        self.task_id: TaskId | None = None
        self.place = 0
        self.stand = Stand.NEW
        self.outcome: Outcome | None = None
        self.ended_s = 0.0
        self.kept = False
        self.promised = False
        self.finished = False
        self.broken = False
        self.left = False
        self.runs: list[Run] = []

    @property
    def durable(self) -> bool:
        """Tell whether it must outlive balancers."""
        return self.order.mode is Mode.WEBHOOK


@dataclass(slots=True)
class Run:
    """A stretch of code.

    Attributes:
        token: of its attempt.
        process: where it runs; when that is killed, the code is gone.
        began_s: when it began.
        how: returned, raised or cancelled; "" while it runs.
    """

    token: str
    process: Process
    began_s: float
    how: str = ""

    @property
    def running(self) -> bool:
        """Tell whether the code is there."""
        return not self.how and self.process.alive


class Fate(Enum):
    """What became of an attempt, as far as the balancer has said."""

    CURRENT = auto()
    TAKEN_BACK = auto()  # it had not begun
    LOST = auto()
    SPENT = auto()  # it failed, and another one may follow
    OVER = auto()  # its task ended


@dataclass(slots=True)
class AttemptCase:
    """One attempt, by its token.

    Attributes:
        case: of which task.
        boot: number of the balancer process that made it.
        fate: what became of it.
        over_s: when.
    """

    case: Case
    boot: int
    fate: Fate = Fate.CURRENT
    over_s: float = 0.0

    def end(self, fate: Fate, now_s: float) -> None:
        """Note that its result is not wanted any more."""
        self.fate, self.over_s = fate, now_s


Place = tuple[int, int, str]  # (priority, place, task id)


@dataclass(slots=True)
class Queues:
    """A model of the queues: for each lane, the tasks that may be dispatched, first one first."""

    lanes: dict[LaneKey, list[Place]] = field(default_factory=dict["LaneKey", "list[Place]"])

    def add(self, case: Case) -> None:
        """Let a case wait."""
        insort(self.lanes.setdefault(case.order.lane, []), place_of(case))

    def remove(self, case: Case) -> None:
        """Take a case out that waits."""
        lane = self.lanes[case.order.lane]
        where = bisect_left(lane, place_of(case))
        assert lane[where] == place_of(case), "the model has lost a task"
        del lane[where]

    def first(self, lane: LaneKey) -> Place | None:
        """Return the first of a lane, or None."""
        waiting = self.lanes.get(lane)
        return waiting[0] if waiting else None

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))


def place_of(case: Case) -> Place:
    """Return where a case belongs in its lane."""
    return (case.order.priority, case.place, case.task_id or "")
