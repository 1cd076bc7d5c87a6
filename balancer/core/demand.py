"""Demand: telling workers how much waits here for them, so that they share their slots fairly.

Only what matters to a worker that serves several claimants is told: that something waits now, that
nothing does any more, that the best priority is another. A shape is looked at again after a while
that grows with its workers, so that a queue that fills and empties all the time costs a bounded
number of messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.core.commands import Commands
    from balancer.core.pool import Shape

INTERVAL_S = 0.05  # between two tellings of one shape; the engine's tick
INTERVAL_PER_WORKER_S = 0.0001  # so a fleet is sent 10,000 demands a second at most
NO_PRIORITY = 1.0  # what goes with a count of 0


class DemandBoard:
    """Shapes whose demand may have changed.

    Args:
        commands: where demands go.
    """

    __slots__ = ("_commands", "_touched")

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._touched: dict[Shape, None] = {}

    def touch(self, shape: Shape) -> None:
        """Look at a shape at its next turn: what waits for it has changed."""
        self._touched[shape] = None

    def tell(self, now_s: float) -> None:
        """Tell the workers of every shape whose turn it is what changed for them."""
        for shape in [shape for shape in self._touched if _turn_s(shape) <= now_s]:
            del self._touched[shape]
            head = shape.heads.best()
            best = None if head is None else head[0]
            if best == shape.told and not shape.newcomers:
                continue
            shape.told = best
            shape.told_s = now_s
            shape.newcomers = False
            self._tell_workers(shape, best)

    def next_s(self) -> float | None:
        """Return when a shape has its turn, or None."""
        return min(map(_turn_s, self._touched), default=None)

    def _tell_workers(self, shape: Shape, best: float | None) -> None:
        count = 0 if best is None else sum(len(lane.queue) for lane in shape.lanes)
        priority = NO_PRIORITY if best is None else best
        for worker in shape.workers.values():
            if worker.up and worker.told != best:
                worker.told = best
                self._commands.demand(worker.id, count, priority)


def _turn_s(shape: Shape) -> float:
    return shape.told_s + max(INTERVAL_S, INTERVAL_PER_WORKER_S * len(shape.workers))
