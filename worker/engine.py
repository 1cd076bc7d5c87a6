"""The single writer of the worker's state: every attempt, wherever it comes from, runs through here.

    link ─▶ LinkSession ─▶┐                        ┌─▶ Runner ─▶ your function
                          ├─ admit ─ begin ─▶ Engine
    HTTP ─▶ submit ───────┘   (a slot)             └─▶ Owner (link or direct caller): pieces, outcome

The engine composes the pure parts (slot gate, executions, own queue) and owns the one timer. It is
called on the loop only; the runner hands over what threads and processes say.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.errors import CabrankError
from shared.log import Log
from shared.slot_report import SlotReport
from shared.task import Outcome
from shared.task_state import TaskStatus
from worker.core.execution import Executions, Phase, cancelled, failed
from worker.core.slot_gate import SlotGate
from worker.counters import WorkerCounters
from worker.direct import DirectTasks
from worker.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.capability import FunctionSpec
    from shared.clock import Chance, Clock
    from shared.errors import Failure
    from shared.ids import IdSource, TaskId
    from shared.task import Sink, TaskRequest
    from worker.attempt import Attempt
    from worker.authoring.registry import Registry
    from worker.authoring.task_function import Function
    from worker.core.direct_queue import DirectTask
    from worker.core.slot_gate import Claimant
    from worker.runner import Runner

TICK_S = 0.05  # how late a time-out may be; twenty looks a second cost nothing

_log = Log("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine needs to know.

    Attributes:
        limit: slots.
        default_timeout_s: limit of one run when neither task nor function says one.
        task_timeout_s: limit of a direct sync or stream call that says none; None for none.
        max_queue: direct tasks that may wait.
        max_queue_bytes: bytes of their inputs.
        shutdown_grace_s: what `close` leaves the code of cancelled attempts to end.
    """

    limit: int = 10
    default_timeout_s: float = 30.0
    task_timeout_s: float | None = None
    max_queue: int = 1000
    max_queue_bytes: int = 64 * 1024 * 1024
    shutdown_grace_s: float = 5.0


class Part(Protocol):
    """Something that lives by the engine's timer: the links."""

    def tick(self, now_s: float) -> None:
        """Look at the time."""
        ...

    def idle(self) -> bool:
        """Tell whether nothing waits to be sent."""
        ...

    def close(self) -> None:
        """End, before the engine stops what runs: nobody is to take that for the tasks' failure."""
        ...


class WorkerEngine:
    """Runs attempts in slots.

    Args:
        settings: bounds and defaults.
        registry: the functions.
        runner: runs their code.
        clock: tells the time.
        ids: makes tokens of direct attempts.
        chance: jitter of retries.
        journal: writes the log lines of attempts; by default nobody does.

    Attributes:
        function: returns a function by its name; None when it is not hosted.
        attempt: returns the attempt of a token while it holds a slot; None when there is none.
    """

    def __init__(
        self,
        settings: EngineSettings,
        registry: Registry,
        runner: Runner,
        clock: Clock,
        ids: IdSource,
        chance: Chance,
        journal: Journal | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.ids = ids
        self.gate = SlotGate(settings.limit)
        self.counters = WorkerCounters()
        self.journal = journal or Journal()
        self.direct = DirectTasks(self, chance)
        self.closing = False
        self._specs = {spec.name: spec for spec in registry.specs()}
        self._runner = runner
        self._executions: Executions[Attempt] = Executions()
        # Asked for every attempt, so without a method between them and who answers.
        self.function: Callable[[str], Function[..., object] | None] = registry.get
        self.attempt: Callable[[str], Attempt | None] = self._executions.get
        self._parts: list[Part] = []
        self._hooks: tuple[Callable[[], None], ...] = ()  # replaced, because a hook may leave
        self._on_exhausted: Callable[[], None] | None = None
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = asyncio.Event()  # nothing runs any more, while closing

    # What the HTTP side calls

    def submit(self, request: TaskRequest, sink: Sink, task_id: TaskId) -> Failure | DirectTask:
        """Run a task that came directly; it waits in the worker's own queue when no slot is free."""
        return self.direct.submit(request, sink, task_id)

    def cancel(self, task_id: TaskId, reason: str = "cancelled") -> bool:
        """Cancel a direct task, because its caller left; False when it is not known or over."""
        return self.direct.cancel(task_id, reason)

    def grant(self, task_id: TaskId, size: int) -> None:
        """Let a direct stream send so many bytes more."""
        self.direct.grant(task_id, size)

    def find_function(self, name: str) -> FunctionSpec | None:
        """Return what is announced of a function; None when it is not hosted."""
        return self._specs.get(name)

    def specs(self) -> list[FunctionSpec]:
        """Return what is announced of every function, by name."""
        return list(self._specs.values())

    def slots(self) -> SlotReport:
        """Return the slots as `/health` shows them."""
        gate = self.gate
        return SlotReport(
            available=gate.total_available(),
            limit=gate.limit,
            used=gate.used,
            queue=len(self.direct),
            stuck=gate.stuck,
            maintenance=gate.maintenance,
        )

    @property
    def maintenance(self) -> bool:
        """Tell whether the worker takes no new task."""
        return self.gate.maintenance

    def set_maintenance(self, on: bool) -> None:
        """Take no new task, or take tasks again; what runs or waits here finishes either way."""
        if on != self.gate.maintenance:
            _log.info("maintenance mode enabled" if on else "maintenance mode disabled")
            self.gate.set_maintenance(on, self.clock.monotonic())
            self.changed()

    def set_services_down(self, down: bool) -> None:
        """Give no slot to anybody while a service is down."""
        self.gate.set_services_down(down, self.clock.monotonic())
        self.changed()

    @property
    def idle(self) -> bool:
        """Tell whether nothing runs, waits, or has a result that a link could still deliver."""
        return (
            not self.gate.used and not len(self.direct) and all(part.idle() for part in self._parts)
        )

    async def drained(self, timeout_s: float) -> bool:
        """Wait until the worker is idle; False when it is not by then."""
        if self.idle:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle_waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return self.idle
        finally:
            self._idle_waiters.remove(waiter)
        return True

    def on_change(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call back on every change of the slots; the returned function ends that."""
        self._hooks = (*self._hooks, hook)
        return lambda: self._forget(hook)

    def on_exhausted(self, hook: Callable[[], None]) -> None:
        """Call back when every slot is held by code that cannot be ended: time to be restarted."""
        self._on_exhausted = hook

    # Life

    def start(self) -> None:
        """Start the timer."""
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick_and_again)

    async def close(self) -> None:
        """Fail what waits, end what runs, and stop; what cannot be ended dies with the process."""
        self.closing = True
        self.gate.set_maintenance(True, self.clock.monotonic())
        self.direct.close()
        for part in self._parts:
            part.close()
        for execution in self._executions:
            self.stop(execution, failed("shutting_down"))
        try:
            async with asyncio.timeout(self.settings.shutdown_grace_s):
                if len(self._executions):
                    await self._quiet.wait()
        except TimeoutError:
            _log.warning("code still runs at the end", attempts=len(self._executions))
        if self._timer is not None:
            self._timer.cancel()
        await self._runner.close()

    def tick(self, now_s: float) -> None:
        """Look at the time: time-outs, stuck code, retries, offers, links."""
        due = self._executions.tick(now_s)
        for execution in due.timed_out:
            self._stopped(execution, now_s)
        for execution in due.stuck:
            self._stuck(execution)
        self.direct.tick(now_s)
        for part in self._parts:
            part.tick(now_s)
        if self.gate.tick(now_s) or due.stuck:
            self.changed()
        self._look_idle()

    # What links and direct tasks call

    def join(self, part: Part) -> None:
        """Let a part live by the engine's timer."""
        self._parts.append(part)

    def timeout_of(self, function: Function[..., object], asked_s: float | None) -> float:
        """Return the limit of one run: the task's own, else the function's, else the default."""
        if asked_s is not None:
            return asked_s
        config = function.config
        return self.settings.default_timeout_s if config.timeout_s is None else config.timeout_s

    def attempts(self) -> list[Attempt]:
        """Return all attempts that hold a slot, oldest first."""
        return list(self._executions)

    def admit(self, attempt: Attempt, claimant: Claimant, now_s: float) -> None:
        """Give an attempt a slot that the gate has for its claimant; `begin` must follow, or `stop`."""
        self.gate.take(claimant, now_s)
        self._executions.add(attempt)
        self.counters.began += 1
        self._tell()

    def begin(self, attempt: Attempt, raw: bytes) -> None:
        """Check the input of an admitted attempt and start its code."""
        try:
            values = attempt.definition.check(raw)
        except CabrankError as error:
            self.ended(attempt, Outcome(TaskStatus.FAILED, failure=error.failure))
            return
        self.journal.began(attempt, raw)
        try:
            self._runner.start(self, attempt, values, raw)
        except Exception as error:
            # No thread is left, or a bug of ours: it costs this attempt, not a slot or a whole link.
            _log.exception("an attempt could not be started", error, task_id=attempt.task_id)
            self.ended(attempt, failed("internal_error"))

    def stop(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Decide an attempt and end its code; False when it was decided before."""
        now_s = self.clock.monotonic()
        if not attempt.stop(outcome, now_s):
            return False
        self._executions.watch(attempt)
        self._stopped(attempt, now_s)
        return True

    def changed(self) -> None:
        """Note that slots were freed, taken or closed: use them, and tell whoever wants to know."""
        self.direct.pump()
        self._tell()
        if self._idle_waiters:
            self._look_idle()

    # What the runner calls

    def began(self, attempt: Attempt) -> None:
        """Note that the code of an attempt starts now."""
        attempt.begin(self.clock.monotonic())
        self._executions.watch(attempt)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Note that the code of an attempt has ended: its slot is free."""
        if attempt.channel is not None and attempt.outcome is None:
            attempt.channel.finish()
        now_s = self.clock.monotonic()
        stuck = self.gate.stuck > 0 and attempt.phase is Phase.STUCK
        if attempt.end(outcome):
            self._decided(attempt, outcome, now_s)
        else:
            self.counters.late += 1
        attempt.run = attempt.channel = None  # they refer to it: only the collector could free them
        self._executions.remove(attempt)
        self.gate.release(now_s, stuck=stuck)
        self.changed()
        if self.closing and not len(self._executions):
            self._quiet.set()

    # Inside

    def _stopped(self, attempt: Attempt, now_s: float) -> None:
        """Tell the owner of an attempt that was just decided, and make its code end."""
        outcome = attempt.outcome
        assert outcome is not None, "a stopped attempt is decided"
        self._decided(attempt, outcome, now_s)
        if attempt.channel is not None:
            attempt.channel.stop()
        if attempt.run is not None:
            attempt.run.stop()
        else:
            self.ended(attempt, cancelled())  # its code never started

    def _decided(self, attempt: Attempt, outcome: Outcome, now_s: float) -> None:
        if attempt.started_s is not None:
            attempt.seconds = now_s - attempt.started_s
        self.counters.function(attempt.function).count(outcome, attempt.seconds)
        self.journal.decided(attempt, outcome, now_s)
        attempt.owner.decided(attempt, outcome)

    def _stuck(self, attempt: Attempt) -> None:
        self.gate.mark_stuck()
        self.counters.stuck += 1
        _log.event(
            "worker.stuck",
            count=self.gate.stuck,
            function=attempt.function,
            task_id=attempt.task_id,
        )
        if self.gate.exhausted:
            _log.error("every slot is stuck: the worker must be restarted", slots=self.gate.limit)
            self.set_maintenance(True)
            if self._on_exhausted is not None:
                self._on_exhausted()

    def _tell(self) -> None:
        for hook in self._hooks:
            hook()

    def _forget(self, hook: Callable[[], None]) -> None:
        self._hooks = tuple(each for each in self._hooks if each != hook)

    def _tick_and_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick_and_again)
        self.tick(self.clock.monotonic())

    def _look_idle(self) -> None:
        if self._idle_waiters and self.idle:
            for waiter in self._idle_waiters:
                if not waiter.done():
                    waiter.set_result(None)
