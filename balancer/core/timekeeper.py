"""The timekeeper: does what time brings, in an order that never dispatches what has just ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.task_state import TaskEvent

if TYPE_CHECKING:
    from balancer.core.attempts import Attempts
    from balancer.core.backlog import Backlog
    from balancer.core.commands import Commands
    from balancer.core.demand import DemandBoard
    from balancer.core.directory import Directory
    from balancer.core.dispatcher import Dispatcher
    from balancer.core.fleet import Fleet
    from balancer.core.lane import Lane

AT_ONCE_S = 0.0  # any moment that has passed


class Timekeeper:
    """Turns the passing of time into events of tasks and workers."""

    __slots__ = (
        "_attempts",
        "_backlog",
        "_commands",
        "_demand",
        "_directory",
        "_dispatcher",
        "_fleet",
    )

    def __init__(
        self,
        backlog: Backlog,
        directory: Directory,
        dispatcher: Dispatcher,
        attempts: Attempts,
        fleet: Fleet,
        demand: DemandBoard,
        commands: Commands,
    ) -> None:
        self._backlog = backlog
        self._directory = directory
        self._dispatcher = dispatcher
        self._attempts = attempts
        self._fleet = fleet
        self._demand = demand
        self._commands = commands

    def tick(self, now_s: float) -> None:
        """Do what is due: ends, then losses, then starts, then what workers are told."""
        for task in self._backlog.deadlines.expired(now_s):
            self._attempts.expire(task)
        self._fleet.tick(now_s)
        self._wake(now_s)
        for lane in self._directory.desert(now_s):
            self.give_up(lane)
        for lane in self._backlog.take_stranded():
            self.give_up(lane)
        self._dispatcher.settle(now_s)
        self._demand.tell(now_s)

    def next_s(self) -> float | None:
        """Return when something is due, or None."""
        moments = (
            self._backlog.deadlines.next_s(),
            self._backlog.delays.next_s(),
            self._fleet.windows.next_s(),
            self._fleet.rests.next_s(),
            self._directory.absences.next_s(),
            self._demand.next_s(),
            AT_ONCE_S if self._backlog.stranded else None,
        )
        return min((moment for moment in moments if moment is not None), default=None)

    def late(self, now_s: float) -> None:
        """Begin all windows again; deadlines stay, they are promises."""
        self._fleet.windows.restart(now_s)
        self._directory.absences.restart(now_s)

    def discovered(self) -> None:
        """Let recovered tasks go, and end the calls for functions that nobody hosts."""
        if not self._directory.discovered:
            self._backlog.release_recovered()
            self._directory.discovered = True
            for lane in list(self._directory.lanes.values()):
                if not lane.shapes:
                    self.give_up(lane)

    def give_up(self, lane: Lane) -> None:
        """End the calls that wait in a lane that nobody serves; durable tasks wait on."""
        why = self._directory.check(*lane.key, durable=False)
        if why is not None:
            calls = [task for task in lane.queue if not task.durable]
            for task in sorted(calls, key=lambda task: (task.request.priority, task.seq)):
                self._attempts.give_up(task, why)

    def _wake(self, now_s: float) -> None:
        """Queue the scheduled tasks whose moment has come."""
        for task in self._backlog.delays.expired(now_s):
            task.due_s = None
            task.apply(TaskEvent.DUE)
            self._commands.changed(task, TaskEvent.DUE)
            self._backlog.enqueue(task, self._directory.lanes[task.lane])
