"""The dispatcher: hands waiting tasks to free slots, so that none waits while a slot it may have is free.

Every event that frees a slot or lets a task wait ends here. For a freed slot the first task of all
lanes of its shape is taken; for several at once the first task of all comes first, on the best worker
for it. So no later task is chosen while an earlier one that could have run there waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.ids import Token
from shared.task_state import TaskEvent

if TYPE_CHECKING:
    from balancer.core.backlog import Backlog
    from balancer.core.commands import Commands
    from balancer.core.lane import Lane
    from balancer.core.live_task import LiveTask
    from balancer.core.live_worker import LiveWorker
    from balancer.core.placement import Head
    from balancer.core.pool import Pool
    from shared.ids import IdSource

_DISPATCHED = TaskEvent.DISPATCHED


class Dispatcher:
    """Matches the backlog with the idle workers.

    Args:
        backlog: the tasks.
        commands: where dispatches go.
        ids: makes tokens.
    """

    __slots__ = ("_backlog", "_commands", "_count", "_ids")

    def __init__(self, backlog: Backlog, commands: Commands, ids: IdSource) -> None:
        self._backlog = backlog
        self._commands = commands
        self._ids = ids
        self._count = 0

    def start(self, task: LiveTask, worker: LiveWorker, now_s: float) -> None:
        """Begin an attempt of a task that no longer waits, on a worker with a free slot.

        The caller ranks the worker anew.
        """
        token = Token(self._ids.next_id())
        self._count = worker.last = self._count + 1
        task.token = token
        task.worker = worker.id
        task.started_s = now_s
        task.number += 1
        task.apply(_DISPATCHED)
        worker.running[token] = task
        if task.input_stored:
            worker.loading.add(token)
            worker.ledger.load()
        else:
            worker.ledger.take()
        if self._backlog.recovered:
            self._backlog.recovered.pop(task.id, None)
        self._commands.changed(task, _DISPATCHED)
        self._commands.dispatch(worker.id, task)

    def place(self, task: LiveTask, worker: LiveWorker, now_s: float) -> None:
        """Begin an attempt on an idle worker that may have other free slots."""
        assert worker.shape is not None
        self.start(task, worker, now_s)
        worker.shape.idle.update(worker)

    def fill(self, worker: LiveWorker, now_s: float) -> None:
        """Give a worker whose slots have changed the first tasks that wait for it."""
        shape = worker.shape
        if shape is None:
            return
        ledger = worker.ledger
        if worker.up and not worker.silent:
            while ledger.free > 0:
                head = shape.heads.best()
                if head is None:
                    break
                self.start(self._backlog.take(head[2]), worker, now_s)
        shape.idle.update(worker)

    def refresh(self, worker: LiveWorker) -> None:
        """Rank a worker anew whose slots or life have changed; the caller settles."""
        if worker.shape is not None:
            worker.shape.idle.update(worker)
            self._backlog.unsettled[worker.shape.pool] = None

    def settle(self, now_s: float) -> None:
        """Dispatch until no task waits for a slot that is free."""
        unsettled = self._backlog.unsettled
        while unsettled:
            self._settle_pool(unsettled.popitem()[0], now_s)

    def _settle_pool(self, pool: Pool, now_s: float) -> None:
        while (lane := _first_lane(pool)) is not None:
            worker = lane.best_worker()
            assert worker is not None  # one of its shapes has an idle one
            self.place(self._backlog.take(lane), worker, now_s)


def _first_lane(pool: Pool) -> Lane | None:
    """Return the lane with the first task for which a worker is idle, or None."""
    first: Head | None = None
    for shape in pool.shapes.values():
        if shape.idle.best() is not None:
            head = shape.heads.best()
            if head is not None and (first is None or head < first):
                first = head
    return None if first is None else first[2]
