"""A worker while the scheduler knows it: slotted, changed in place by the scheduler alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.events import HTTP
from balancer.core.slot_ledger import HttpSlots, SlotLedger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.core.events import WorkerFacts
    from balancer.core.live_task import LiveTask
    from balancer.core.placement import Rank
    from balancer.core.pool import Shape
    from shared.capability import FunctionSpec
    from shared.ids import BootId, PoolKey, Token, WorkerId

MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0  # beyond it one worker would starve or swallow all others


class LiveWorker:
    """One worker that has been up at least once.

    Attributes:
        id, boot, kind, pool_key, functions, eligible, weight, order: as in `WorkerFacts`.
        ledger: its slots.
        running: its attempts of ours, by token: the only place that says which token is current.
        loading: those of them whose input is still being read, so that it has not heard of them.
        up: its link is open, and it was not declared lost on it.
        refusals: refused in a row although it said that it had room.
        silent: nothing comes from it.
        retired: its entry was removed; it gets no task.
        shape: the workers it is interchangeable with; None while it may be sent nothing.
        rank: its place among the idle ones of its shape; None while it has no slot to give.
        last: number of the last dispatch to it, over all workers; 0 for none.
        told: the best priority told to it as demand; None when told that nothing waits.
    """

    __slots__ = (
        "boot",
        "eligible",
        "functions",
        "id",
        "kind",
        "last",
        "ledger",
        "loading",
        "order",
        "pool_key",
        "rank",
        "refusals",
        "retired",
        "running",
        "shape",
        "silent",
        "told",
        "up",
        "weight",
    )

    def __init__(self, facts: WorkerFacts) -> None:
        self.id: WorkerId = facts.worker
        self.running: dict[Token, LiveTask] = {}
        self.loading: set[Token] = set()
        self.refusals = 0
        self.up = False
        self.silent = False
        self.retired = False
        self.shape: Shape | None = None
        self.rank: Rank | None = None
        self.last = 0
        self.told: float | None = None
        self.learn(facts)
        self.ledger = HttpSlots() if facts.kind == HTTP else SlotLedger()

    def __lt__(self, other: LiveWorker) -> bool:
        """Break the tie between two lives of one worker: one of the two ranks is stale."""
        return False

    def learn(self, facts: WorkerFacts) -> None:
        """Take what it announced; the caller has taken it out of its shape before."""
        self.boot: BootId = facts.boot
        self.kind = facts.kind
        self.pool_key: PoolKey = (facts.group, facts.contract)
        self.functions: Mapping[str, FunctionSpec] = facts.functions
        self.eligible = facts.eligible
        # Not a number compares false with everything, so it becomes the lowest weight.
        self.weight = min(facts.weight, MAX_WEIGHT) if facts.weight > MIN_WEIGHT else MIN_WEIGHT
        self.order = facts.order

    def same_place(self, facts: WorkerFacts) -> bool:
        """Tell whether these facts leave it among the same workers, with the same specs."""
        return (
            self.pool_key == (facts.group, facts.contract)
            and self.eligible == facts.eligible
            and self.order == facts.order
            and self.functions == facts.functions
        )
