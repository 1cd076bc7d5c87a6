"""What the scheduler shows of itself: plain values, made when somebody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from balancer.core.lane import Lane
    from shared.ids import LaneKey


class LaneView(NamedTuple):
    """A lane.

    Attributes:
        lane: (group, contract, function).
        waiting: tasks that wait in any way: queued, recovered, or scheduled for later.
        oldest_s: monotonic time at which the oldest queued task was created; None for none.
        best_priority: of the first queued task; None for none.
    """

    lane: LaneKey
    waiting: int
    oldest_s: float | None
    best_priority: float | None


class Counts(NamedTuple):
    """How much is held.

    Attributes:
        tasks: all of them; those that do not wait run.
        waiting: as in `LaneView`, over all lanes.
        running: with a current attempt.
        volatile: not durable, so a restart would lose them.
        waiting_bytes: inputs and metadata of those that wait.
        workers_up: workers whose link is open and that are not lost.
    """

    tasks: int
    waiting: int
    running: int
    volatile: int
    waiting_bytes: int
    workers_up: int


def view_of(lane: Lane) -> LaneView:
    """Return a lane as shown."""
    first = lane.queue.head()
    best = None if first is None else first.request.priority
    return LaneView(lane.key, lane.waiting, lane.queue.oldest_s(), best)
