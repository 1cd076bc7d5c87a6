"""What ends by time: deadlines of tasks, and windows of links and lanes.

Deadlines are many (every call has one) and nearly all are taken back, so they lie in a wheel: a dict
of tasks for every 50 ms, found and left in constant time, with a heap of the few thousand moments
that have one. No timer per task. Windows are few, and must be exact and restartable.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import ceil
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from balancer.core.live_task import LiveTask

RESOLUTION = 20  # buckets a second
EMPTIES = (
    1024  # empty buckets that may lie about; beyond, they go when they are more than the others
)
HORIZON_S = 1e12  # a moment past this (30,000 years), or no number at all, is never

K = TypeVar("K")


class DeadlineWheel:
    """Tasks by the moment at which something must happen to them.

    A task is due at its moment or up to one bucket (50 ms) later, never earlier.
    """

    __slots__ = ("_buckets", "_empty", "_keys")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[LiveTask, None]] = {}
        self._empty = 0  # how many of them are
        self._keys: list[int] = []  # heap of the keys of `_buckets`

    def __len__(self) -> int:
        """Return the number of buckets."""
        return len(self._buckets)

    def add(self, task: LiveTask, due_s: float) -> None:
        """Enter a task, once."""
        if not due_s < HORIZON_S:
            return
        key = ceil(due_s * RESOLUTION)
        bucket = self._buckets.get(key)
        if bucket is None:
            self._buckets[key] = {task: None}
            heappush(self._keys, key)
        else:
            self._empty -= not bucket
            bucket[task] = None

    def remove(self, task: LiveTask, due_s: float) -> None:
        """Take a task out that was entered for this moment; nothing happens if it is gone."""
        if not due_s < HORIZON_S:
            return
        bucket = self._buckets.get(ceil(due_s * RESOLUTION))
        if bucket and bucket.pop(task, task) is None and not bucket:
            # It keeps its key for a while, or a busy moment would get one per task; its memory it
            # gives back, which a dict that only empties does not.
            bucket.clear()
            self._empty += 1
            if self._empty > EMPTIES and self._empty * 2 > len(self._buckets):
                self._tidy()

    def expired(self, now_s: float) -> list[LiveTask]:
        """Take out and return what is due, by bucket and then in order of entry."""
        found: list[LiveTask] = []
        keys = self._keys
        while keys and keys[0] <= now_s * RESOLUTION:
            bucket = self._buckets.pop(heappop(keys))
            self._empty -= not bucket
            found += bucket
        return found

    def next_s(self) -> float | None:
        """Return when something is due next, or None."""
        keys = self._keys
        while keys and not self._buckets[keys[0]]:
            del self._buckets[heappop(keys)]
            self._empty -= 1
        return keys[0] / RESOLUTION if keys else None

    def _tidy(self) -> None:
        """Drop the empty buckets: deadlines far away must not be paid for until their time."""
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket}
        self._keys = list(self._buckets)
        heapify(self._keys)
        self._empty = 0


class Windows(Generic[K]):
    """Windows that run: how long something may stay as it is before it counts as over."""

    __slots__ = ("_count", "_heap", "_running")

    def __init__(self) -> None:
        self._running: dict[K, tuple[float, int, float, K]] = {}  # (due, count, length, key)
        self._heap: list[tuple[float, int, float, K]] = []  # the same, and stale ones
        self._count = 0

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, key: K) -> bool:
        return key in self._running

    def start(self, key: K, now_s: float, length_s: float) -> None:
        """Begin a window, or begin it again."""
        self._count += 1  # unique, so that ties end by order of start and keys are never compared
        entry = self._running[key] = (now_s + length_s, self._count, length_s, key)
        heappush(self._heap, entry)

    def stop(self, key: K) -> None:
        """End a window early; nothing happens if there is none."""
        self._running.pop(key, None)

    def restart(self, now_s: float) -> None:
        """Begin every window again: nobody was looking while they ran."""
        self._running = {
            key: (now_s + length_s, count, length_s, key)
            for key, (_, count, length_s, _) in self._running.items()
        }
        self._heap = list(self._running.values())
        heapify(self._heap)

    def expired(self, now_s: float) -> list[K]:
        """Take out and return the keys whose window is over, by its end and then by its start."""
        found: list[K] = []
        while self._first() and self._heap[0][0] <= now_s:
            key = heappop(self._heap)[3]
            del self._running[key]
            found.append(key)
        return found

    def next_s(self) -> float | None:
        """Return when the next window ends, or None."""
        return self._heap[0][0] if self._first() else None

    def _first(self) -> bool:
        """Drop stale entries from the front; tell whether one is left."""
        heap = self._heap
        while heap and self._running.get(heap[0][3]) is not heap[0]:
            heappop(heap)
        return bool(heap)
