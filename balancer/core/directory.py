"""Who hosts what: pools, shapes and lanes by name, and the answers of contract §5 to unknown names.

Until the first round of discovery has ended, nothing is unknown for good: a task for a function that
nobody hosts yet waits in its lane. Afterwards it is a 404 that says what is missing. A lane whose
hosts have all been down for NO_WORKER_WAIT is deserted: calls get 503, durable tasks wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.lane import Lane
from balancer.core.leases import Windows
from balancer.core.pool import Pool, Shape
from shared.errors import Failure, failure

if TYPE_CHECKING:
    from balancer.core.live_worker import LiveWorker
    from shared.capability import FunctionSpec
    from shared.ids import LaneKey, PoolKey

UNDISCOVERED_RETRY_S = 1.0  # a round of discovery takes a look's time-out, 3 s, at most


class Directory:
    """Lanes and pools.

    Args:
        no_worker_wait_s: seconds after which a lane without any worker up is deserted.

    Attributes:
        lanes: every lane that is hosted or has tasks.
        discovered: the first round of discovery has ended.
        absences: windows of the lanes that are down.
    """

    __slots__ = ("_groups", "_pools", "_wait_s", "absences", "discovered", "lanes")

    def __init__(self, no_worker_wait_s: float) -> None:
        self.lanes: dict[LaneKey, Lane] = {}
        self.discovered = False
        self.absences: Windows[Lane] = Windows()
        self._pools: dict[PoolKey, Pool] = {}
        self._groups: dict[tuple[str, int], dict[str, None]] = {}  # (function, contract) → groups
        self._wait_s = no_worker_wait_s

    # Answers

    def check(self, group: str, contract: int, function: str, *, durable: bool) -> Failure | None:
        """Return why a task cannot be taken, or None when it may wait or run."""
        lane = self.lanes.get((group, contract, function))
        if lane is not None and lane.shapes:
            if lane.deserted and not durable:
                return self.absent(lane)
            return None
        return self._unknown(group, contract, function) if self.discovered else None

    def absent(self, lane: Lane) -> Failure:
        """Return the failure of a call whose hosts are all away."""
        group, _, function = lane.key
        text = f"No worker is available for function '{function}' of group '{group}'"
        return failure("no_worker_available", text, retry_after_s=max(1.0, self._wait_s))

    def only_group(self, function: str, contract: int) -> str | Failure:
        """Return the only group that hosts a function, or why a request must name one."""
        groups = self._groups.get((function, contract), {})
        if len(groups) == 1:
            return next(iter(groups))
        if not groups and not self.discovered:
            return failure("no_worker_available", retry_after_s=UNDISCOVERED_RETRY_S)
        return failure("invalid_request")

    def spec(self, key: LaneKey) -> FunctionSpec | None:
        """Return what the reference worker announces of a function, or None."""
        lane = self.lanes.get(key)
        host = None if lane is None else lane.reference()
        return None if host is None else host.functions.get(key[2])

    def _unknown(self, group: str, contract: int, function: str) -> Failure:
        known = sorted(
            key[1] for key, pool in self._pools.items() if key[0] == group and pool.workers
        )
        if not known:
            return failure("group_not_found", f"Group '{group}' not found")
        if contract not in known:
            contracts = ", ".join(map(str, known))
            text = f"Contract {contract} not found in group '{group}', which has: {contracts}"
            return failure("contract_not_found", text)
        return failure("function_not_found", f"Function '{function}' not found in group '{group}'")

    # Lanes

    def lane(self, key: LaneKey) -> Lane:
        """Return a lane, made if need be."""
        lane = self.lanes.get(key)
        if lane is None:
            pool = self._pool(key[:2])
            lane = self.lanes[key] = pool.lanes[key[2]] = Lane(key, pool)
        return lane

    def tidy(self, lane: Lane) -> None:
        """Forget a lane that nobody hosts and where nothing waits."""
        if lane.shapes or lane.waiting:
            return
        self.absences.stop(lane)
        del self.lanes[lane.key]
        del lane.pool.lanes[lane.key[2]]
        self._tidy_pool(lane.pool)

    def _pool(self, key: PoolKey) -> Pool:
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(key)
        return pool

    def _tidy_pool(self, pool: Pool) -> None:
        if not pool.lanes and not pool.workers:
            self._pools.pop(pool.key, None)

    # Workers

    def join(self, worker: LiveWorker, now_s: float) -> None:
        """Put a worker among those that host the same."""
        pool = self._pool(worker.pool_key)
        pool.workers[worker.id] = worker
        shape = pool.shapes.get(worker.eligible)
        if shape is None:
            shape = self._new_shape(pool, worker.eligible)
        shape.workers[worker.id] = worker
        worker.shape = shape
        for lane in shape.lanes:
            if lane.host is not None and (worker.order, worker.id) < (
                lane.host.order,
                lane.host.id,
            ):
                lane.host = worker
        if worker.up:
            self._raised(shape, now_s)
        elif len(shape.workers) == 1:
            self._look_at_all(shape, now_s)

    def leave(self, worker: LiveWorker, now_s: float) -> None:
        """Take a worker out of its shape and pool: it may be sent nothing."""
        shape = worker.shape
        if shape is None:
            return
        pool = shape.pool
        worker.shape = None
        shape.idle.leave(worker)
        del shape.workers[worker.id]
        del pool.workers[worker.id]
        for lane in shape.lanes:
            if lane.host is worker:
                lane.host = None
        if worker.up:
            self._lowered(shape, now_s)
        if not shape.workers:
            self._drop_shape(shape, now_s)
        self._tidy_pool(pool)

    def set_up(self, worker: LiveWorker, up: bool, now_s: float) -> None:
        """Note that a worker's link opened, closed, or is as good as closed."""
        if worker.up is up:
            return
        worker.up = up
        if worker.shape is not None:
            if up:
                self._raised(worker.shape, now_s)
            else:
                self._lowered(worker.shape, now_s)

    def desert(self, now_s: float) -> list[Lane]:
        """Return the lanes that have been without a worker for too long, from now on deserted."""
        found = self.absences.expired(now_s)
        for lane in found:
            lane.deserted = True
        return found

    def _new_shape(self, pool: Pool, eligible: frozenset[str]) -> Shape:
        group, contract = pool.key
        lanes = [self.lane((group, contract, function)) for function in sorted(eligible)]
        shape = pool.shapes[eligible] = Shape(pool, eligible, lanes)
        for lane in lanes:
            if not lane.shapes:
                self._groups.setdefault((lane.key[2], contract), {})[group] = None
            lane.shapes.append(shape)
            first = lane.queue.head()
            if first is not None:
                shape.heads.offer(lane, first.request.priority, first.seq)
        return shape

    def _drop_shape(self, shape: Shape, now_s: float) -> None:
        del shape.pool.shapes[shape.eligible]
        for lane in shape.lanes:
            lane.shapes.remove(shape)
            if not lane.shapes:
                group, contract, function = lane.key
                groups = self._groups[function, contract]
                del groups[group]
                if not groups:
                    del self._groups[function, contract]
            self._look(lane, now_s)
            self.tidy(lane)

    def _raised(self, shape: Shape, now_s: float) -> None:
        shape.up += 1
        shape.newcomers = True
        if shape.up == 1:
            self._look_at_all(shape, now_s)

    def _lowered(self, shape: Shape, now_s: float) -> None:
        shape.up -= 1
        if not shape.up:
            self._look_at_all(shape, now_s)

    def _look_at_all(self, shape: Shape, now_s: float) -> None:
        for lane in shape.lanes:
            self._look(lane, now_s)

    def _look(self, lane: Lane, now_s: float) -> None:
        """Find out whether any host of a lane is up."""
        up = any(shape.up for shape in lane.shapes)
        if up:
            self.absences.stop(lane)
            lane.deserted = False
        elif not lane.down:
            self.absences.start(lane, now_s, self._wait_s)
        lane.down = not up
