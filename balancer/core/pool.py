"""Pools and shapes: which workers can stand in for each other.

A *pool* is a group and contract: its workers, and one lane per function. Workers of a pool that may
be sent the same functions form a *shape*. Normally a pool has one; while a fleet is upgraded it has
a few. Decisions look at shapes, so they do not cost more when there are more workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.placement import IdleWorkers, LaneHeads

if TYPE_CHECKING:
    from balancer.core.lane import Lane
    from balancer.core.live_worker import LiveWorker
    from shared.ids import PoolKey, WorkerId


class Shape:
    """Workers of one pool that may be sent the same functions.

    Attributes:
        pool: the pool.
        eligible: names of those functions.
        lanes: their lanes.
        workers: by id.
        idle: those of them that have a slot to give.
        heads: its lanes that have tasks.
        up: workers whose link is open.
        told, told_s: best priority last told to its workers as demand, and when.
        newcomers: a worker has joined or come up that was not told.
    """

    __slots__ = (
        "eligible",
        "heads",
        "idle",
        "lanes",
        "newcomers",
        "pool",
        "told",
        "told_s",
        "up",
        "workers",
    )

    def __init__(self, pool: Pool, eligible: frozenset[str], lanes: list[Lane]) -> None:
        self.pool = pool
        self.eligible = eligible
        self.lanes = lanes
        self.workers: dict[WorkerId, LiveWorker] = {}
        self.idle = IdleWorkers(self.workers)
        self.heads = LaneHeads()
        self.up = 0
        self.told: float | None = None
        self.told_s = float("-inf")
        self.newcomers = False


class Pool:
    """The workers and lanes of one group and contract.

    Attributes:
        key: (group, contract).
        shapes: by the functions they may be sent.
        lanes: by function.
        workers: workers that announce this group and contract and are not retired.
    """

    __slots__ = ("key", "lanes", "shapes", "workers")

    def __init__(self, key: PoolKey) -> None:
        self.key = key
        self.shapes: dict[frozenset[str], Shape] = {}
        self.lanes: dict[str, Lane] = {}
        self.workers: dict[WorkerId, LiveWorker] = {}
