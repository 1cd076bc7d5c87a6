"""Threads for functions that block: one for each slot if need be, and none that holds up the exit.

Not `concurrent.futures`: its threads are joined when the interpreter ends, so one that is stuck
would keep a worker from ever stopping. A thread is started when a job finds none idle; since each
job holds a slot, there are about as many as slots, stuck ones included.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], None]


class ThreadPool:
    """Daemon threads that run jobs; used from one thread only.

    Args:
        name: prefix of the threads' names.
    """

    __slots__ = ("_closed", "_idle", "_lock", "_name", "_queue", "_started")

    def __init__(self, name: str = "function") -> None:
        self._name = name
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads that wait, less the jobs that are theirs already
        self._started = 0
        self._closed = False

    @property
    def started(self) -> int:
        """Return the threads that were ever started."""
        return self._started

    @property
    def idle(self) -> int:
        """Return the threads that wait for a job."""
        return self._idle

    def submit(self, job: Job) -> None:
        """Run a job, which must not raise, in an idle thread or a new one.

        Raises:
            RuntimeError: the system has no thread left; the job is not run.
        """
        with self._lock:
            grow = self._idle == 0
            if not grow:
                self._idle -= 1
        if grow:
            # Before the job is queued: whoever is told that it does not run must be able to trust that.
            name = f"{self._name}-{self._started + 1}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
            self._started += 1
        self._queue.put(job)

    def close(self) -> None:
        """Let threads end: idle ones now, busy ones after their job, stuck ones with the process."""
        with self._lock:
            self._closed = True
            ending, self._idle = self._idle, 0
        for _ in range(ending):
            self._queue.put(None)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job()
            del job  # an idle thread keeps nothing of what it ran
            with self._lock:
                if self._closed:
                    return
                self._idle += 1
