"""A lane: the tasks that wait for one function of one group and contract, and who can serve them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.task_queue import TaskQueue

if TYPE_CHECKING:
    from balancer.core.live_worker import LiveWorker
    from balancer.core.pool import Pool, Shape
    from shared.ids import LaneKey


class Lane:
    """Tasks that wait for the same thing.

    Attributes:
        key: (group, contract, function).
        pool: the workers and lanes of its group and contract.
        queue: tasks that may be dispatched.
        recovered: tasks of an earlier process that must not be before discovery has ended, because
            a worker may still be running them.
        shapes: sets of workers that may be sent its tasks; empty while nobody hosts the function.
        host: the first worker in workers.json order that does; None when it must be looked up.
        waiting: tasks that wait in any way: queued, recovered, or scheduled for later.
        volatile: those of them that are not durable; MAX_QUEUE bounds these.
        down: it has had a host, and no host of it is up now.
        deserted: it has been down for NO_WORKER_WAIT.
        dispatched: tasks taken from the queue so far.
        full_s, full_at: since when its pace is measured, for Retry-After, and `dispatched` then.
    """

    __slots__ = (
        "deserted",
        "dispatched",
        "down",
        "full_at",
        "full_s",
        "host",
        "key",
        "pool",
        "queue",
        "recovered",
        "shapes",
        "volatile",
        "waiting",
    )

    def __init__(self, key: LaneKey, pool: Pool) -> None:
        self.key = key
        self.pool = pool
        self.queue = TaskQueue()
        self.recovered = TaskQueue()
        self.shapes: list[Shape] = []
        self.host: LiveWorker | None = None
        self.waiting = 0
        self.volatile = 0
        self.down = False
        self.deserted = False
        self.dispatched = 0
        self.full_s: float | None = None
        self.full_at = 0

    def best_worker(self) -> LiveWorker | None:
        """Return the worker that the next task of this lane should go to, or None when all are busy."""
        shapes = self.shapes
        if len(shapes) == 1:
            best = shapes[0].idle.best()
        else:
            idle = (shape.idle.best() for shape in shapes)
            best = min((rank for rank in idle if rank is not None), default=None)
        return None if best is None else best[4]

    def reference(self) -> LiveWorker | None:
        """Return the worker whose announcement of the function counts, or None when nobody hosts it."""
        if self.host is None and self.shapes:
            workers = (worker for shape in self.shapes for worker in shape.workers.values())
            self.host = min(workers, key=lambda worker: (worker.order, worker.id), default=None)
        return self.host

    def release_recovered(self) -> None:
        """Let the recovered tasks be dispatched, before what was accepted after them."""
        if self.recovered:
            for task in self.queue:
                self.recovered.push(task)
            self.queue, self.recovered = self.recovered, TaskQueue()
