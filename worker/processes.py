"""Child processes for functions that want one of their own: CPU-bound work, hard kill on time-out.

A child is warm: it has imported the functions before it is given work, and takes the next attempt
after one. It is killed, with whatever processes it started, when its attempt is stopped, and
replaced. A stream needs no messages for its flow control: the worker reads the next piece only when
the last one has left, and the pipe in between fills up.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import msgspec

from shared.errors import CODES, Failure, ParamProblem, TaskCancelled
from shared.log import Log
from shared.task import Outcome
from shared.task_state import TaskStatus
from worker.authoring.discovery import address_of
from worker.child_protocol import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    Address,
    Emitted,
    Logged,
    Prepare,
    Raised,
    Ready,
    Returned,
    Start,
    Streamed,
    Told,
    frame,
    read_from_child,
)
from worker.core.execution import cancelled, failed
from worker.outcome import failed_elsewhere

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from shared.clock import Clock
    from worker.attempt import Attempt
    from worker.authoring.task_function import Function
    from worker.child_protocol import FromChild
    from worker.runner import Host

START_TIMEOUT_S = 60.0  # imports of heavy libraries on a busy machine
# The child finds its modules where the worker does, whatever put them there.
_BOOT = "import sys; sys.path[:] = sys.argv[2:]; from worker.isolated import main; main(int(sys.argv[1]))"

# structlog's names of levels → ours
_LEVELS = {"warning": "warn", "critical": "error", "exception": "error"}

_log = Log("worker")


class ProcessDied(Exception):
    """The process of the function died."""


class ProcessPool:
    """Warm children; runs attempts in them.

    Args:
        clock: tells how much time an attempt has left.
        functions: those that want a process; others may be run too, they are only not prepared.
        warm: children kept ready while nothing runs; 0 starts each when it is needed.
    """

    allowed = True  # not in a child itself

    def __init__(
        self, clock: Clock, functions: Iterable[Function[..., object]] = (), *, warm: int = 1
    ) -> None:
        self._clock = clock
        self._addresses = [_address(each) for each in functions]
        self._warm = warm if self._addresses else 0
        self._idle: list[Child] = []
        self._children: set[Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def children(self) -> int:
        """Return the children that live."""
        return len(self._children)

    @property
    def ready(self) -> int:
        """Return the children that wait for work."""
        return len(self._idle)

    def prepare(self) -> None:
        """Start the children that are kept ready, without waiting for them."""
        for _ in range(self._warm - len(self._idle)):
            self._spawn_task(self._prepare_one())

    def start(self, host: Host, attempt: Attempt, raw: bytes) -> ProcessRun:
        """Run an attempt in a child."""
        run = ProcessRun(self, host, attempt, raw)
        self._spawn_task(run.serve())
        return run

    async def close(self) -> None:
        """Kill every child and wait until none is left."""
        self._closed = True
        for child in list(self._children):
            child.kill()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for child in list(self._children):
            await self.discard(child)

    def now_s(self) -> float:
        """Return the time that attempts are measured by."""
        return self._clock.monotonic()

    async def take(self) -> Child:
        """Return an idle child, or a new one.

        Raises:
            ProcessDied: it did not start.
        """
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            await self.discard(child)
        return await self._start_one()

    def give_back(self, child: Child) -> None:
        """Keep a child for the next attempt."""
        if self._closed:
            child.kill()
        else:
            self._idle.append(child)

    async def discard(self, child: Child) -> None:
        """Kill a child, wait for its end, and start another when too few are ready."""
        await child.end()
        self._children.discard(child)
        if not self._closed and len(self._idle) < self._warm and len(self._children) < self._warm:
            self._spawn_task(self._prepare_one())

    async def _prepare_one(self) -> None:
        try:
            self._idle.append(await self._start_one())
        except (ProcessDied, OSError) as error:
            _log.error("a process for functions did not start", error=str(error))

    async def _start_one(self) -> Child:
        if not self.allowed:
            raise ProcessDied("A function's process starts no processes for functions")
        child = await Child.spawn()
        self._children.add(child)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await child.send(Prepare(self._addresses))
                while not isinstance(message := await child.receive(), Ready):
                    _relay_log(message)
        except BaseException as error:
            self._children.discard(child)
            await child.end()
            if isinstance(error, TimeoutError):
                raise ProcessDied(f"It did not start within {START_TIMEOUT_S:g} s") from None
            raise
        if self._closed:
            child.kill()
        return child

    def _spawn_task(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Child:
    """One child process and the socket to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def spawn(cls) -> Child:
        """Start a child."""
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            process = await asyncio.create_subprocess_exec(
                *_command(number, sys.path),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(number,),
                start_new_session=True,  # Ctrl-C is the worker's; and one kill reaches all it started
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer)

    @property
    def alive(self) -> bool:
        """Tell whether the process has not ended, as far as is known."""
        return self._process.returncode is None and not self._reader.at_eof()

    async def send(self, message: Prepare | Start) -> None:
        """Send a message.

        Raises:
            ProcessDied: nobody reads it.
        """
        try:
            self._writer.write(frame(message))
            await self._writer.drain()
        except ConnectionError as error:
            raise ProcessDied(await self._epitaph()) from error

    async def receive(self) -> FromChild:
        """Return the next message.

        Raises:
            ProcessDied: none will come.
        """
        try:
            size = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            if size <= MAX_FRAME_BYTES:
                return read_from_child(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ProcessDied(await self._epitaph()) from error
        except msgspec.MsgspecError as error:
            raise ProcessDied("It wrote nonsense to its worker") from error
        raise ProcessDied("It wrote nonsense to its worker")

    def kill(self) -> None:
        """Kill the process and what it started; its number is another's once it was waited for."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill the process and return when it is gone."""
        self.kill()
        await self._process.wait()
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _epitaph(self) -> str:
        """Say how the process ended; it is ended first if it only closed its socket."""
        self.kill()
        code = await self._process.wait()
        if code >= 0:
            return f"The process of the function ended with exit code {code}"
        with suppress(ValueError):
            return f"The process of the function was killed by {signal.Signals(-code).name}"
        return f"The process of the function was killed by signal {-code}"


class ProcessRun:
    """One attempt in a child."""

    __slots__ = ("_attempt", "_child", "_host", "_pool", "_raw")

    def __init__(self, pool: ProcessPool, host: Host, attempt: Attempt, raw: bytes) -> None:
        self._pool = pool
        self._host = host
        self._attempt = attempt
        self._raw = raw
        self._child: Child | None = None

    def stop(self) -> None:
        """Kill the child; one that is still on its way is not given the work."""
        if self._child is not None:
            self._child.kill()

    async def serve(self) -> None:
        """Run the attempt and report its end, once its process is idle again or gone."""
        try:
            self._child = child = await self._pool.take()
            outcome = await self._run(child)
        except (ProcessDied, OSError) as error:
            outcome = failed_elsewhere(str(error), "ProcessDied")
        except Exception as error:  # a bug of ours; the child may be in the middle of anything
            _log.exception("a process for functions was misread", error)
            outcome = failed("internal_error")
            if self._child is not None:
                await self._pool.discard(self._child)
                self._child = None
        if self._child is not None:
            await self._release(self._child)
        self._host.ended(self._attempt, outcome)

    async def _run(self, child: Child) -> Outcome:
        attempt = self._attempt
        if attempt.outcome is not None:
            return cancelled()  # it was stopped while the child started
        self._host.began(attempt)
        await child.send(self._start_message())
        while True:
            message = await child.receive()
            if isinstance(message, Returned):
                return Outcome(TaskStatus.SUCCEEDED, message.result)
            if isinstance(message, Raised):
                return _outcome_of(message)
            with suppress(TaskCancelled):  # then it is being killed, and the next read says so
                await self._relay(message)

    async def _release(self, child: Child) -> None:
        """Keep the child if it can be used again; else see it gone before the slot is free."""
        if child.alive and self._attempt.outcome is None:
            self._pool.give_back(child)
        else:
            await self._pool.discard(child)

    async def _relay(self, message: FromChild) -> None:
        channel = self._attempt.channel
        assert channel is not None, "an attempt in a process has a channel"
        if self._attempt.outcome is not None:
            return  # it is being killed; what it said before that has no reader
        if isinstance(message, Streamed):
            await channel.push_encoded(message.kind, message.data)
        elif isinstance(message, Told):
            channel.progress_encoded(message.data)
        elif isinstance(message, Emitted):
            channel.emit_encoded(message.name, message.data)
        else:
            _relay_log(message)

    def _start_message(self) -> Start:
        attempt = self._attempt
        remaining = None if attempt.stop_s is None else attempt.stop_s - self._pool.now_s()
        return Start(
            address=_address(attempt.definition),
            task_id=attempt.task_id,
            token=attempt.token,
            attempt=attempt.attempt,
            input=self._raw,
            streams=attempt.streams,
            metadata=attempt.metadata,
            correlation_id=attempt.correlation_id,
            remaining=remaining,
        )


def _outcome_of(message: Raised) -> Outcome:
    code = message.code if message.code in CODES else "function_error"
    details: list[ParamProblem] = (
        []
        if message.details is None
        else msgspec.json.decode(message.details, type=list[ParamProblem])
    )
    failure = Failure(code, message.message, tuple(details), message.error_type)
    return Outcome(TaskStatus.FAILED, failure=failure)


def _relay_log(message: FromChild) -> None:
    """Write a line of a child's log into the worker's."""
    if isinstance(message, Logged):
        # By the standard library, which reads lone surrogates and NaN too.
        fields = cast("dict[str, object]", json.loads(message.fields))
        text = str(fields.pop("event", ""))
        fields.pop("level", None)  # a line has one of its own; the same as in the worker's process
        if "exception" in fields:
            fields["traceback"] = fields.pop("exception")
        Log("function").write(_LEVELS.get(message.level, message.level), text, fields)


def _address(function: Function[..., object]) -> Address:
    found = address_of(function)
    return Address(found.folder, found.module, found.file, found.name)


def _command(descriptor: int, paths: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", _BOOT, str(descriptor), *paths]
