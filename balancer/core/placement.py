"""Placement: which of the idle workers gets the next task, and which lane gives it.

The order of workers is total: most free slots × weight first, then the one that was dispatched to
longest ago, then workers.json order, then id. The order of tasks is total: priority, then `seq`.

Both are heaps that are cleaned lazily: a change adds an entry and leaves the old one, which is
recognised as stale when it comes up. A heap that is mostly stale is rebuilt, so a decision costs
O(log n) in the long run, however many workers are idle and however many lanes have tasks.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.core.lane import Lane
    from balancer.core.live_worker import LiveWorker
    from shared.ids import WorkerId

# (−free × weight, last dispatch, workers.json order, id, worker): the id ends every tie
Rank = tuple[float, int, int, "WorkerId", "LiveWorker"]
Head = tuple[float, int, "Lane"]  # (priority, seq, lane): seq ends every tie

SLACK = 64  # stale entries that are not worth a rebuild


class IdleWorkers:
    """The workers of one shape that have a slot to give, best first.

    Args:
        workers: all workers of the shape; shared with it.
    """

    __slots__ = ("_heap", "_workers")

    def __init__(self, workers: dict[WorkerId, LiveWorker]) -> None:
        self._workers = workers
        self._heap: list[Rank] = []

    def __len__(self) -> int:
        """Return the entries held, stale ones included."""
        return len(self._heap)

    def best(self) -> Rank | None:
        """Return the rank of the best idle worker, which ends with it, or None when none is idle."""
        heap = self._heap
        while heap:
            rank = heap[0]
            if rank[4].rank is rank:
                return rank
            heappop(heap)
        return None

    def update(self, worker: LiveWorker) -> None:
        """Rank a worker of the shape anew: its free slots, its weight or its life changed."""
        heap = self._heap
        old = worker.rank
        free = worker.ledger.free
        if free <= 0 or not worker.up or worker.silent:
            worker.rank = None
            if heap and heap[0] is old:
                heappop(heap)
            return
        rank = worker.rank = (-free * worker.weight, worker.last, worker.order, worker.id, worker)
        if heap and heap[0] is old:
            heapreplace(heap, rank)
            return
        heappush(heap, rank)
        if len(heap) > 2 * len(self._workers) + SLACK:
            self._rebuild()

    def leave(self, worker: LiveWorker) -> None:
        """Take a worker out that is leaving the shape."""
        worker.rank = None

    def _rebuild(self) -> None:
        ranks = (worker.rank for worker in self._workers.values())
        self._heap = [rank for rank in ranks if rank is not None]
        heapify(self._heap)


class LaneHeads:
    """The lanes that one shape serves, the one with the first task first.

    A lane's entry is never later than its first task: a better one is offered at once, a worse one
    is found out when the entry comes up.
    """

    __slots__ = ("_heap", "_listed")

    def __init__(self) -> None:
        self._heap: list[Head] = []
        self._listed: dict[Lane, Head] = {}  # the one entry of each lane that is not stale

    def __len__(self) -> int:
        """Return the entries held, stale ones included."""
        return len(self._heap)

    def offer(self, lane: Lane, priority: float, seq: int) -> None:
        """Enter a lane whose first task has become this one."""
        entry = self._listed[lane] = (priority, seq, lane)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._listed) + SLACK:
            self._heap = list(self._listed.values())
            heapify(self._heap)

    def best(self) -> Head | None:
        """Return (priority, seq, lane) of the first task of all, or None when none waits."""
        heap = self._heap
        listed = self._listed
        while heap:
            entry = heap[0]
            lane = entry[2]
            if listed.get(lane) is not entry:
                heappop(heap)
                continue
            task = lane.queue.head()
            if task is None:
                heappop(heap)
                del listed[lane]
                continue
            if task.seq == entry[1]:
                return entry
            fresh = listed[lane] = (task.request.priority, task.seq, lane)
            heapreplace(heap, fresh)
        return None
