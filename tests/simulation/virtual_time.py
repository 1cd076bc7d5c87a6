"""Virtual time and the processes that live in it: one heap of events, one asyncio loop a process.

Real code of the product runs unchanged: its coroutines, timers and call-backs become events of the
process they belong to. So a process can be killed (its events never happen, as after `kill -9`) or
frozen (they wait until it is thawed, as after SIGSTOP), and the order of everything depends on the
seed alone: events happen by time, and at the same time in the order in which they were made.
"""

from __future__ import annotations

import asyncio
from asyncio.events import _set_running_loop  # pyright: ignore[reportPrivateUsage]  # asyncio exports it for other loops
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = datetime(2030, 1, 1, tzinfo=UTC)
START_S = 1000.0
MAX_CLEAN_UPS = 20  # of one coroutine that is closed

# What a task or a call-back never raises unless the product has a bug.
BUGS = (AssertionError, LookupError, TypeError, AttributeError, NameError, RecursionError)


class Event(asyncio.TimerHandle):
    """Something that happens to a process at a moment."""

    def fire(self) -> None:
        """Let it happen."""
        self._run()


class VirtualTime:
    """The heap of (time, seq, event); also the `Clock` of everybody.

    Attributes:
        start_s: when the world began.
        now_s: the time.
        steps: events that have happened.
    """

    def __init__(self) -> None:
        self.start_s = self.now_s = START_S
        self.steps = 0
        self._heap: list[tuple[float, int, Process | None, Callable[[], object]]] = []
        self._seq = 0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now_s

    def utc_now(self) -> datetime:
        """Return the wall clock."""
        return START + timedelta(seconds=self.now_s - START_S)

    def at(
        self, when_s: float, happen: Callable[[], object], process: Process | None = None
    ) -> None:
        """Let something happen, to a process or to the world."""
        # A local number: whatever the interpreter runs in between (a finalizer) gets one of its own.
        seq = self._seq = self._seq + 1
        heappush(self._heap, (max(when_s, self.now_s), seq, process, happen))

    def after(self, delay_s: float, happen: Callable[[], object]) -> None:
        """Let something happen to the world in a while."""
        self.at(self.now_s + delay_s, happen)

    def step(self) -> Process | None:
        """Let the next event happen; return the process that it happened to.

        Raises:
            IndexError: nothing will ever happen again.
        """
        while True:
            when_s, _, process, happen = heappop(self._heap)
            if process is None:
                self.now_s = when_s
                self.steps += 1
                happen()
                return None
            if not process.alive:
                continue
            if process.frozen:
                process.held.append(happen)
                continue
            if isinstance(happen, _Firing) and happen.event.cancelled():
                continue
            self.now_s = when_s
            self.steps += 1
            process.run(happen)
            return process


class _Firing:
    """An event of a loop as the heap holds it: nothing happens if it was cancelled meanwhile."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event

    def __call__(self) -> None:
        if not self.event.cancelled():
            self.event.fire()


class Process:
    """A process of the simulation, with a loop of its own.

    Args:
        name: for the trace; unique.
        time: the world's.
        broken: told of every exception that only a bug raises.

    Attributes:
        alive: it was not killed.
        frozen: it is stopped; its events wait in `held`.
        healthy_s: since when it has not been frozen.
        active_s: when something last happened to it.
    """

    def __init__(self, name: str, time: VirtualTime, broken: Callable[[str], None]) -> None:
        self.name = name
        self.time = time
        self.alive = True
        self.frozen = False
        self.healthy_s = time.now_s
        self.active_s = time.now_s
        self.held: list[Callable[[], object]] = []
        self.broken = broken
        self.loop = ProcessLoop(self)

    def run(self, happen: Callable[[], object]) -> None:
        """Let an event happen inside the process."""
        self.active_s = self.time.now_s
        _set_running_loop(self.loop)
        try:
            happen()
        finally:
            _set_running_loop(None)

    def soon(self, happen: Callable[[], object]) -> None:
        """Let something happen inside the process now, or when it is thawed."""
        self.time.at(self.time.now_s, happen, self)

    def freeze(self) -> None:
        """Stop it."""
        self.frozen = True

    def thaw(self) -> None:
        """Let it go on: what has become due meanwhile happens now, in its order."""
        if self.frozen:
            self.frozen = False
            self.healthy_s = self.time.now_s
            held, self.held = self.held, []
            for happen in held:
                self.soon(happen)

    def kill(self) -> None:
        """End it at once: nothing of it happens any more, not even what its code would clean up."""
        if not self.alive:
            return
        self.alive = False
        self.held.clear()
        self.run(self._abandon)
        self.loop.close()

    def _abandon(self) -> None:
        """Close the coroutines that will never go on, or the interpreter complains about each.

        What they do on their way out happens to nobody: a dead process reaches neither time, network
        nor disk.
        """
        seen: set[asyncio.Task[object]] = set()
        while left := asyncio.all_tasks(self.loop) - seen:
            seen |= left
            for task in left:
                task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
                _close(cast("Coroutine[object, object, object]", task.get_coro()))


def _close(coroutine: Coroutine[object, object, object]) -> None:
    for _ in range(MAX_CLEAN_UPS):
        try:
            coroutine.close()
        except BaseException:  # its clean-up awaits, or fails: again, until it is out
            continue
        return


class ProcessLoop(asyncio.BaseEventLoop):
    """The asyncio loop of one process; virtual time makes its events happen."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self.set_exception_handler(_report)

    def time(self) -> float:
        """Return the time."""
        return self.process.time.now_s

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Have a call made after those that are due already."""
        return self.call_at(self.process.time.now_s, callback, *args, context=context)

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Do the same: there are no threads here."""
        return self.call_at(self.process.time.now_s, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:  # fmt: skip
        """Have a call made at a moment."""
        event = Event(when, callback, args, self, context)
        if self.process.alive:
            self.process.time.at(when, _Firing(event), self.process)
        return event

    def create_task(
        self,
        coro: Generator[object, None, T] | Coroutine[object, object, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Make a task whose end by a bug is noticed, whoever swallows its exception."""
        task = super().create_task(coro, name=name, context=context)
        task.add_done_callback(_look)
        return task

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled event is skipped when its time comes."""


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Take an exception that nobody caught."""
    assert isinstance(loop, ProcessLoop)
    process = loop.process
    error = context.get("exception")
    if process.alive and isinstance(error, BaseException):
        process.broken(f"{process.name}: {context.get('message')}: {error!r}")


def _look(task: asyncio.Task[T]) -> None:
    if task.cancelled():
        return
    error = task._exception  # `exception()` would mark it as retrieved
    loop = task.get_loop()
    if isinstance(error, BUGS) and isinstance(loop, ProcessLoop) and loop.process.alive:
        loop.process.broken(f"{loop.process.name}: {task.get_name()} ended by {error!r}")
