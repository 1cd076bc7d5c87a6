"""The queue of one lane: strict priority, then the order of acceptance (`seq`).

Nearly all tasks come with growing `seq` and with one of a few priorities, so they wait in one deque
a priority (a *level*): eight bytes each, and the next one is found at once however many wait. The
few that come out of order (a refused task that goes back to its own place, the 65th priority) wait
in a heap beside them, the *strays*. Which of the two holds a task is nobody's business outside.

Removal is lazy: a removed task is marked and skipped when it comes first; when more than half are
marked, they are swept out, so each removal costs constant time in the long run.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.core.live_task import LiveTask

MAX_LEVELS = (
    64  # an empty deque costs 600 bytes; callers who use priorities as time stamps make many
)
SWEEP_FROM = 64  # below this many marks a sweep saves nothing
OLDEST_SCAN = 1000  # strays looked at for the age of the oldest; a view must not cost O(n)


class TaskQueue:
    """Tasks that wait, the first one first.

    `len(queue)` is their number. A task is in it at most once; the caller sees to that.
    """

    __slots__ = ("_entries", "_levels", "_order", "_removed", "_strays")

    def __init__(self) -> None:
        self._levels: dict[float, deque[LiveTask]] = {}  # never an empty one
        self._order: list[float] = []  # heap of the priorities in `_levels`
        self._strays: list[tuple[float, int, LiveTask]] = []  # heap
        self._removed: set[int] = set()  # seq of marked tasks, which are still in a level or stray
        self._entries = 0  # marked ones included

    def __len__(self) -> int:
        return self._entries - len(self._removed)

    def __iter__(self) -> Iterator[LiveTask]:
        """Yield every waiting task, in no useful order."""
        removed = self._removed
        for level in self._levels.values():
            yield from (task for task in level if task.seq not in removed)
        yield from (task for _, seq, task in self._strays if seq not in removed)

    def push(self, task: LiveTask) -> None:
        """Add a task at its own place, by `request.priority` and `seq`."""
        seq = task.seq
        if self._removed and seq in self._removed:
            self._removed.discard(seq)  # its old entry stands in the same place: unmarked
            return
        self._entries += 1
        priority = task.request.priority
        level = self._levels.get(priority)
        if level is not None:
            if level[-1].seq < seq:
                level.append(task)
                return
        elif len(self._levels) < MAX_LEVELS:
            self._levels[priority] = deque((task,))
            heappush(self._order, priority)
            return
        heappush(self._strays, (priority, seq, task))

    def head(self) -> LiveTask | None:
        """Return the first task, or None when none waits."""
        if self._removed:
            self._skip()
        if not self._strays:
            return self._levels[self._order[0]][0] if self._order else None
        priority, seq, stray = self._strays[0]
        if self._order:
            first = self._levels[self._order[0]][0]
            if (first.request.priority, first.seq) < (priority, seq):
                return first
        return stray

    def pop(self) -> LiveTask | None:
        """Take the first task out and return it, or None when none waits."""
        task = self.head()
        if task is not None:
            self._entries -= 1
            if self._strays and self._strays[0][2] is task:
                heappop(self._strays)
            else:
                self._pop_level()
        return task

    def remove(self, task: LiveTask) -> None:
        """Take out a task that waits here, from wherever it stands."""
        removed = self._removed
        removed.add(task.seq)
        if len(removed) > SWEEP_FROM and len(removed) * 2 > self._entries:
            self._sweep()

    def oldest_s(self) -> float | None:
        """Return when the task that waits longest was created, or None when none waits.

        Exact unless more than 1,000 tasks wait out of order.
        """
        removed = self._removed
        found: list[float] = []
        for level in self._levels.values():
            first = next((task for task in level if task.seq not in removed), None)
            if first is not None:
                found.append(first.created_s)
        strays = (entry for entry in self._strays if entry[1] not in removed)
        found += (task.created_s for _, _, task in islice(strays, OLDEST_SCAN))
        return min(found, default=None)

    def _pop_level(self) -> LiveTask:
        level = self._levels[self._order[0]]
        task = level.popleft()
        if not level:
            del self._levels[heappop(self._order)]
        return task

    def _skip(self) -> None:
        """Drop marked tasks from the front, so that the first of each kind is a waiting one."""
        removed = self._removed
        while self._strays and self._strays[0][1] in removed:
            removed.discard(heappop(self._strays)[1])
            self._entries -= 1
        while self._order and self._levels[self._order[0]][0].seq in removed:
            removed.discard(self._pop_level().seq)
            self._entries -= 1

    def _sweep(self) -> None:
        """Rebuild everything without the marked tasks."""
        removed = self._removed
        kept = {
            priority: deque(task for task in level if task.seq not in removed)
            for priority, level in self._levels.items()
        }
        self._levels = {priority: level for priority, level in kept.items() if level}
        self._order = sorted(self._levels)
        self._strays = [entry for entry in self._strays if entry[1] not in removed]
        heapify(self._strays)
        self._entries -= len(removed)
        self._removed = set()
