"""The child's side of process isolation: runs one attempt after another until its worker is gone.

A thread reads what the worker sends and ends the process at once when the worker is gone, even
while a function computes; so no child outlives its worker. The main thread runs the functions,
because signal handlers and many native libraries want it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, NoReturn, cast

import structlog

from shared.errors import CabrankError, FunctionError
from shared.log import Log, correlation_id
from shared.redaction import redacted
from shared.system import SystemClock
from worker.authoring.context import Context, as_piece
from worker.authoring.discovery import FunctionAddress, load_function
from worker.authoring.task_function import Kind
from worker.channel import check_event
from worker.child_protocol import (
    LENGTH_BYTES,
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
    read_from_worker,
)
from worker.outcome import encode_json, encode_piece, raised, returned
from worker.processes import ProcessPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator, MutableMapping

    from shared.task import Outcome
    from worker.authoring.context import JsonValue, PieceValue, Progress
    from worker.authoring.task_function import Function
    from worker.child_protocol import Address, FromChild, FromWorker


def main(descriptor: int) -> None:
    """Serve the worker at the other end of a socket."""
    ProcessPool.allowed = False  # a script without a main guard would start itself without end
    connection = socket.socket(fileno=descriptor)
    jobs: SimpleQueue[FromWorker] = SimpleQueue()
    threading.Thread(target=_read, args=(connection, jobs), daemon=True).start()
    child = _Child(connection)
    structlog.configure(processors=[structlog.processors.format_exc_info, child.log])
    while True:
        job = jobs.get()
        if isinstance(job, Prepare):
            child.prepare(job)
        else:
            child.run(job)


def _read(connection: socket.socket, jobs: SimpleQueue[FromWorker]) -> NoReturn:
    """Pass on what comes; end the process when nothing can come any more."""
    try:
        with connection.makefile("rb") as stream:
            while len(head := stream.read(LENGTH_BYTES)) == LENGTH_BYTES:
                jobs.put(read_from_worker(stream.read(int.from_bytes(head, "big"))))
    finally:
        os._exit(0)  # not sys.exit: that would end this thread only


class _Child:
    """Runs attempts and tells the worker about them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # a function may have threads that log
        self._functions: dict[Address, Function[..., object]] = {}

    def send(self, message: FromChild) -> None:
        """Send a message; block while the worker does not read."""
        data = frame(message)
        with self._lock:
            self._connection.sendall(data)

    def prepare(self, job: Prepare) -> None:
        """Import the files; one that fails here fails again, with its error, when it is called."""
        for address in job.addresses:
            try:
                self._load(address)
            except CabrankError as error:
                Log("worker").warning("cannot prepare", error=error.message)
        self.send(Ready())

    def run(self, job: Start) -> None:
        """Run one attempt and tell how it ended."""
        try:
            answer = _answer_of(self._call(job))
        except CabrankError as error:  # the input was refused, or the file cannot be loaded
            found = error.failure
            details = encode_json(found.details) if found.details else None
            answer = Raised(found.code, found.message, type(error).__name__, details)
        self.send(answer)

    def log(self, _logger: object, method: str, event: MutableMapping[str, object]) -> NoReturn:
        """Hand a log line to the worker, whose log it belongs to; a processor for structlog."""
        plain = redacted(event, log_input=bool(event.get("log_input", False)))
        self.send(Logged(method, json.dumps(plain).encode()))
        raise structlog.DropEvent

    def _load(self, address: Address) -> Function[..., object]:
        function = self._functions.get(address)
        if function is None:
            place = FunctionAddress(
                folder=address.folder, module=address.module, file=address.file, name=address.name
            )
            function = self._functions[address] = load_function(place)
        return function

    def _call(self, job: Start) -> Outcome:
        """Run the function; its own exceptions are an outcome.

        Raises:
            CabrankError: it could not be called.
        """
        try:
            function = self._load(job.address)
        except CabrankError as error:
            raise FunctionError(error.message) from error
        correlation_id.set(job.correlation_id)
        values = function.check(job.input)
        channel = _ChildChannel(self, streams=job.streams)
        try:
            if function.kind in (Kind.COROUTINE, Kind.ASYNC_GENERATOR):
                value = asyncio.run(_run_async(function, job, values, channel))
            else:
                value = _run_sync(function, values, _context(function, job, channel), channel)
        except BaseException as error:
            return raised(error, function.name, job.task_id)
        return returned(value)


class _ChildChannel:
    """What a function in a child says on its way."""

    def __init__(self, child: _Child, *, streams: bool) -> None:
        self._child = child
        self._streams = streams
        self.cancelled = False  # the process is killed instead

    async def push(self, piece: PieceValue) -> None:
        """Send a piece; the loop in here has nothing else to do than to wait."""
        self.push_blocking(piece)

    def push_blocking(self, piece: PieceValue) -> None:
        """Send a piece; block while the worker does not read."""
        if self._streams:
            self._child.send(Streamed(*encode_piece(piece)))

    def progress(self, progress: Progress) -> None:
        """Tell how far the function is."""
        if self._streams:
            self._child.send(Told(encode_json(progress.wire())))

    def emit(self, name: str, data: JsonValue) -> None:
        """Publish an event."""
        encoded = encode_json(data)
        check_event(name, encoded)
        self._child.send(Emitted(name, encoded))


def _context(function: Function[..., object], job: Start, channel: _ChildChannel) -> Context:
    clock = SystemClock()
    return Context(
        task_id=job.task_id,
        function=function.name,
        channel=channel,
        clock=clock,
        attempt=job.attempt,
        attempt_token=job.token,
        metadata=job.metadata,
        correlation_id=job.correlation_id,
        deadline_s=None if job.remaining is None else clock.monotonic() + job.remaining,
        streaming=function.config.streaming,
    )


def _run_sync(
    function: Function[..., object],
    values: dict[str, object],
    context: Context,
    channel: _ChildChannel,
) -> object:
    value = function.start(values, context)
    if function.kind is Kind.GENERATOR:
        value = _push_all(cast("Generator[object, None, object]", value), channel)
    context.finish()
    return value


def _push_all(pieces: Generator[object, None, object], channel: _ChildChannel) -> object:
    while True:
        try:
            piece = next(pieces)
        except StopIteration as stop:
            return cast("object", stop.value)
        channel.push_blocking(as_piece(piece))


async def _run_async(
    function: Function[..., object], job: Start, values: dict[str, object], channel: _ChildChannel
) -> object:
    context = _context(function, job, channel)
    started = function.start(values, context)
    if function.kind is Kind.COROUTINE:
        value = await cast("Coroutine[object, object, object] | Awaitable[object]", started)
    else:
        value = None
        async for piece in cast("AsyncGenerator[object, None]", started):
            await channel.push(as_piece(piece))
    context.finish()
    return value


def _answer_of(outcome: Outcome) -> FromChild:
    found = outcome.failure
    if found is None:
        return Returned(outcome.result)
    return Raised(found.code, found.message, found.error_type)
