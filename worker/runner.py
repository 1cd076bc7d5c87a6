"""Runs the code of attempts: coroutines, threads, generators, processes of their own.

    COROUTINE        a task of the loop               stopped by cancellation
    ASYNC_GENERATOR  a task of the loop               the same; each yield is a piece
    THREAD           a thread of the worker's pool    cannot be stopped; it may look at ctx.cancelled
    GENERATOR        a thread                         stopped at its next yield
    process          a child process                  killed

The runner reports to its host, on the loop: `began` when the code starts and `ended` when it has
really ended, each exactly once an attempt, whatever the code did.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from shared.errors import TaskCancelled
from shared.log import correlation_id
from worker.authoring.context import Context, ContextMisuse, as_piece
from worker.authoring.task_function import Kind
from worker.channel import AttemptChannel
from worker.core.execution import Phase, cancelled
from worker.outcome import raised, returned
from worker.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping

    from shared.clock import Clock
    from shared.task import Outcome
    from worker.attempt import Attempt
    from worker.processes import ProcessPool

    Values = Mapping[str, object]

_GENERATORS = (Kind.ASYNC_GENERATOR, Kind.GENERATOR)
_COROUTINE = Kind.COROUTINE  # to look it up in its class costs as much as a call


class Host(Protocol):
    """What the runner tells; on the loop."""

    def began(self, attempt: Attempt) -> None:
        """Note that the code starts now; its time limit counts from here."""
        ...

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Note that the code has ended."""
        ...


class Runner:
    """Starts code and says when it has ended.

    Args:
        clock: for what contexts say about time.
        processes: runs the functions that want a process of their own.
        threads: runs the functions that block.
    """

    def __init__(
        self, clock: Clock, processes: ProcessPool, threads: ThreadPool | None = None
    ) -> None:
        self._clock = clock
        self._processes = processes
        self._threads = threads or ThreadPool()
        self._loop = asyncio.get_running_loop()

    def start(self, host: Host, attempt: Attempt, values: Values, raw: bytes) -> None:
        """Start the code of an attempt.

        Args:
            host: is told how it goes.
            attempt: holds its slot.
            values: the checked parameters.
            raw: the same as JSON text, for a process of its own.
        """
        function = attempt.definition
        if function.config.isolation == "process":
            attempt.channel = AttemptChannel(attempt, self._loop)
            attempt.run = self._processes.start(host, attempt, raw)
            return
        host.began(attempt)
        kind = function.kind
        talks = function.wants_context or kind in _GENERATORS
        context = self._context(attempt) if talks else None
        if kind is _COROUTINE:
            code = _coroutine(host, attempt, values, context)
            # Not by the loop, which makes up a name for each task: a fifth of what a task costs.
            task = asyncio.Task(code, loop=self._loop, name=function.name)
            attempt.run = _TaskRun(host, attempt, task)
        elif kind is Kind.ASYNC_GENERATOR:
            code = _async_generator(host, attempt, values, context)
            attempt.run = _TaskRun(host, attempt, self._loop.create_task(code))
        else:
            attempt.run = _ThreadRun(attempt)
            body = _thread if kind is Kind.THREAD else _generator
            job = partial(body, attempt, values, context)
            self._threads.submit(partial(self._in_thread, host, attempt, job))

    async def close(self) -> None:
        """End the idle threads and every process."""
        self._threads.close()
        await self._processes.close()

    def _context(self, attempt: Attempt) -> Context:
        attempt.channel = AttemptChannel(attempt, self._loop)
        return Context(
            task_id=attempt.task_id,
            function=attempt.function,
            channel=attempt.channel,
            clock=self._clock,
            attempt=attempt.attempt,
            attempt_token=attempt.token,
            metadata=attempt.metadata,  # decoded when asked for, so by the function
            correlation_id=attempt.correlation_id,
            deadline_s=attempt.stop_s,
            streaming=attempt.definition.config.streaming,
        )

    def _in_thread(self, host: Host, attempt: Attempt, job: Callable[[], Outcome]) -> None:
        outcome = copy_context().run(job)
        try:
            self._loop.call_soon_threadsafe(host.ended, attempt, outcome)
        except RuntimeError:
            return  # the worker has stopped meanwhile; nobody is left to be told


class _TaskRun:
    """Code in a task of the loop."""

    __slots__ = ("_attempt", "_host", "_task")

    def __init__(self, host: Host, attempt: Attempt, task: asyncio.Task[None]) -> None:
        self._host = host
        self._attempt = attempt
        self._task = task

    def stop(self) -> None:
        """Cancel the task; one that was cancelled before its first step runs no code to say so."""
        self._task.add_done_callback(self._gone)
        self._task.cancel()

    def _gone(self, _task: asyncio.Task[None]) -> None:
        if self._attempt.phase is not Phase.ENDED:
            self._host.ended(self._attempt, cancelled())


class _ThreadRun:
    """Code in a thread: nothing can end it, but it may wait for room or look at `ctx.cancelled`."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def stop(self) -> None:
        """Do nothing: the channel, which the engine stops, wakes the thread if it waits there."""


async def _coroutine(host: Host, attempt: Attempt, values: Values, context: Context | None) -> None:
    correlation_id.set(attempt.correlation_id)
    try:
        call = cast("Awaitable[object]", attempt.definition.start(values, context))
        outcome = _finished(attempt, await call, context)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the function's, not ours
        outcome = _raised(attempt, error, context)
    host.ended(attempt, outcome)


async def _async_generator(
    host: Host, attempt: Attempt, values: Values, context: Context | None
) -> None:
    correlation_id.set(attempt.correlation_id)
    channel = attempt.channel
    assert channel is not None, "a generator has a channel"
    try:
        pieces = cast("AsyncGenerator[object, None]", attempt.definition.start(values, context))
        try:
            async for piece in pieces:
                await channel.push(as_piece(piece))
        finally:
            await pieces.aclose()
        outcome = _finished(attempt, None, context)
    except BaseException as error:
        outcome = _raised(attempt, error, context)
    host.ended(attempt, outcome)


def _thread(attempt: Attempt, values: Values, context: Context | None) -> Outcome:
    correlation_id.set(attempt.correlation_id)
    try:
        value = attempt.definition.start(values, context)
        if attempt.channel is not None:
            attempt.channel.flush_blocking()
        return _finished(attempt, value, context)
    except BaseException as error:
        return _raised(attempt, error, context)


def _generator(attempt: Attempt, values: Values, context: Context | None) -> Outcome:
    correlation_id.set(attempt.correlation_id)
    channel = attempt.channel
    assert channel is not None, "a generator has a channel"
    try:
        pieces = cast("Generator[object, None, object]", attempt.definition.start(values, context))
        try:
            value = _push_all(pieces, channel)
        finally:
            pieces.close()
        channel.flush_blocking()
        return _finished(attempt, value, context)
    except BaseException as error:
        return _raised(attempt, error, context)


def _push_all(pieces: Generator[object, None, object], channel: AttemptChannel) -> object:
    """Push what a generator yields and return what it returns."""
    while True:
        try:
            piece = next(pieces)
        except StopIteration as stop:
            return cast("object", stop.value)
        channel.push_blocking(as_piece(piece))


def _finished(attempt: Attempt, value: object, context: Context | None) -> Outcome:
    if attempt.outcome is not None:
        return cancelled()  # nobody wants the value, so it is not encoded
    if context is not None:
        context.finish()
    return returned(value)


def _raised(attempt: Attempt, error: BaseException, context: Context | None) -> Outcome:
    """Return the outcome of an exception; when the attempt was stopped it is only its echo."""
    if context is not None:
        with suppress(ContextMisuse):  # the exception says more than pieces that were not sent
            context.finish()
    if attempt.outcome is not None and isinstance(error, asyncio.CancelledError | TaskCancelled):
        return cancelled()
    return raised(error, attempt.function, attempt.task_id)
