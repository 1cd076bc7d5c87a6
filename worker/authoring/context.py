"""What a running function may ask and tell: `Context`, and the `Channel` through which it does so.

One `stream()` serves both worlds, and picks by where it is called:

    in a coroutine on the worker's loop   `await ctx.stream(piece)`    waits in the loop
    in a thread, no loop running there    `ctx.stream(piece)`          blocks the thread

Either way it returns when there is room for the next piece: a slow reader slows the function down.
What is neither (a forgotten `await`, a foreign event loop, a function that was not declared to
stream, a call after the end) raises `ContextMisuse`; nothing is lost in silence.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, cast

from pydantic_core import PydanticSerializationError, to_jsonable_python

from shared.errors import FunctionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
    from datetime import datetime

    from structlog.typing import FilteringBoundLogger

    from shared.clock import Clock

JsonValue = None | bool | int | float | str | list[object] | dict[str, object]
PieceValue = JsonValue | bytes  # what one piece of a stream carries (contract §2, Streams)

MAX_EVENT_NAME = 128  # characters; event names become hook ids and log fields


class ContextMisuse(FunctionError):
    """A function used its context in a way that cannot work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a function has come.

    Attributes:
        done: units that are done, in the function's own unit; None when it counts none.
        total: units in all, 1 for a fraction; None when unknown.
        message: what is being done now, for a person.
    """

    done: float | None = None
    total: float | None = None
    message: str | None = None

    @property
    def fraction(self) -> float | None:
        """Return the share of the work that is done, 0 to 1; None when unknown."""
        if self.done is None or self.total is None:
            return None
        return min(1.0, self.done / self.total)

    def wire(self) -> dict[str, object]:
        """Return the members that are known, as a JSON object."""
        pairs = (("done", self.done), ("total", self.total), ("message", self.message))
        return {name: value for name, value in pairs if value is not None}


class Channel(Protocol):
    """What the runner does for a context; one per attempt."""

    @property
    def cancelled(self) -> bool:
        """Tell whether the attempt is to stop; read from any thread."""
        ...

    async def push(self, piece: PieceValue) -> None:
        """Send a piece and wait until there is room for another; on the worker's loop.

        Raises:
            TaskCancelled: nobody will read it.
        """
        ...

    def push_blocking(self, piece: PieceValue) -> None:
        """Do the same from a thread that has no running loop, blocking it."""
        ...

    def progress(self, progress: Progress) -> None:
        """Tell the reader how far the function is; never waits, called from any thread."""
        ...

    def emit(self, name: str, data: JsonValue) -> None:
        """Publish an event; never waits, called from any thread."""
        ...


class Context:
    """The task that a function is running, and what the function can tell about it.

    A function that wants one declares a parameter of this type. With `isolation="process"` the
    function runs in a process of its own: every member works there but `cancelled`, which stays
    False (the process is killed instead).

    Attributes:
        task_id: id of the task.
        attempt: which attempt this is, from 1; for display.
        attempt_token: names this attempt and never another; give it to what you write to, so that
            a late write of a superseded attempt can be refused (fencing).
        correlation_id: ties together the log lines of one request across processes.
        function: name of the function.
    """

    __slots__ = (
        "_channel",
        "_clock",
        "_deadline",
        "_deadline_s",
        "_ended",
        "_log",
        "_loop",
        "_metadata",
        "_streaming",
        "_unsent",
        "attempt",
        "attempt_token",
        "correlation_id",
        "function",
        "task_id",
    )

    def __init__(
        self,
        *,
        task_id: str,
        function: str,
        channel: Channel,
        clock: Clock,
        attempt: int = 1,
        attempt_token: str = "",
        metadata: bytes | Mapping[str, object] | None = None,
        correlation_id: str = "",
        deadline_s: float | None = None,
        streaming: bool = False,
    ) -> None:
        """Make the context of one attempt; the runner does, on the loop that runs the attempt.

        Args:
            task_id: id of the task.
            function: name of the function.
            channel: where what the function tells goes.
            clock: tells the time that is left.
            attempt: number of the attempt, from 1.
            attempt_token: fencing token of the attempt.
            metadata: what the caller attached: JSON text, decoded when asked for, or the object.
            correlation_id: of the request.
            deadline_s: when the attempt is stopped, on `clock.monotonic()`; None is never.
            streaming: the function is declared to stream.
        """
        self.task_id = task_id
        self.function = function
        self.attempt = attempt
        self.attempt_token = attempt_token
        self._metadata = metadata
        self.correlation_id = correlation_id
        self._channel = channel
        self._clock = clock
        self._deadline_s = deadline_s
        self._deadline: datetime | None = None
        self._streaming = streaming
        self._ended = False
        self._unsent = 0
        self._log: FilteringBoundLogger | None = None
        self._loop = _running_loop()

    # What the function can ask

    @property
    def metadata(self) -> Mapping[str, object]:
        """Return what the caller attached to the task; the fleet never interprets it."""
        if isinstance(self._metadata, bytes):
            told: object = json.loads(self._metadata)
            self._metadata = (
                cast("Mapping[str, object]", told) if isinstance(told, dict) else {"value": told}
            )
        return self._metadata or {}

    @property
    def remaining_s(self) -> float | None:
        """Return the seconds until the attempt is stopped, never below 0; None without a limit."""
        if self._deadline_s is None:
            return None
        return max(0.0, self._deadline_s - self._clock.monotonic())

    @property
    def deadline(self) -> datetime | None:
        """Return when the attempt is stopped, in UTC; None without a limit."""
        if self._deadline is None and self._deadline_s is not None:
            left = self._deadline_s - self._clock.monotonic()
            self._deadline = self._clock.utc_now() + timedelta(seconds=left)
        return self._deadline

    @property
    def cancelled(self) -> bool:
        """Tell whether the attempt is to stop. A thread must look, a coroutine is cancelled."""
        return self._channel.cancelled

    @property
    def log(self) -> FilteringBoundLogger:
        """Return a logger whose lines carry the task, the function and the attempt."""
        if self._log is None:
            import structlog  # here, because it is slow to import and few functions log

            logger = cast("FilteringBoundLogger", structlog.get_logger("function"))
            self._log = logger.bind(
                task_id=self.task_id,
                function=self.function,
                attempt=self.attempt,
                correlation_id=self.correlation_id,
            )
        return self._log

    # What the function can tell

    def stream(self, piece: object) -> Awaitable[None]:
        """Send a piece of the answer: text, bytes or a JSON value.

        In a coroutine write `await ctx.stream(piece)`; in a thread `ctx.stream(piece)` blocks. Both
        return when there is room for the next piece.

        Raises:
            ContextMisuse: the function is not declared with `streaming=True`, has ended, or calls
                from an event loop of its own.
            TaskCancelled: nobody will read it.
            TypeError: the piece is neither text nor bytes nor has a JSON form.
        """
        self._check_streamable()
        value = as_piece(piece)
        loop = _running_loop()
        if loop is None:
            self._channel.push_blocking(value)
            return _SENT
        if loop is not self._loop:
            raise ContextMisuse(
                "ctx.stream() was called in an event loop of the function's own; call it from the "
                "function itself, or make the function `async def`"
            )
        self._unsent += 1
        return _Sending(self._send, value)

    def progress(
        self, done: float | None = None, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell how far the function is: `progress(0.4)`, `progress(3, 10)`, `progress(3, 10, "x.py")`.

        Args:
            done: units done; without a total, the fraction from 0 to 1.
            total: units in all, above 0. Estimates may be low: past it counts as all done.
            message: what is being done now, for a person.
        """
        self._channel.progress(_progress_of(done, total, message))

    def emit(self, name: str, data: object = None) -> None:
        """Publish an event that outside platforms can subscribe to or poll for.

        Args:
            name: of the event, such as `report.ready`.
            data: a JSON value, or what has a JSON form.
        """
        if not name or len(name) > MAX_EVENT_NAME or not name.isprintable():
            raise ValueError(f"an event name is 1 to {MAX_EVENT_NAME} printable characters")
        self._channel.emit(name, _jsonable(data, "event data"))

    # What the runner does at the end

    def finish(self) -> None:
        """Close the context when the function has returned or raised; the runner must call it.

        Raises:
            ContextMisuse: a piece was handed to `stream()` and never awaited, so it was not sent.
        """
        self._ended = True
        if self._unsent:
            raise ContextMisuse(
                f"{self._unsent} piece(s) were not sent: write `await ctx.stream(...)` in a coroutine"
            )

    def _check_streamable(self) -> None:
        if not self._streaming:
            raise ContextMisuse(
                f"function '{self.function}' calls ctx.stream() but is not declared with streaming=True"
            )
        if self._ended:
            raise ContextMisuse(f"function '{self.function}' has ended; nothing can be streamed")

    async def _send(self, piece: PieceValue) -> None:
        self._unsent -= 1
        await self._channel.push(piece)


class _Sending:
    """A piece on its way: sent when awaited, counted as unsent until then."""

    __slots__ = ("_piece", "_send", "_started")

    def __init__(
        self, send: Callable[[PieceValue], Coroutine[object, object, None]], piece: PieceValue
    ) -> None:
        self._send = send
        self._piece = piece
        self._started = False

    def __await__(self) -> Generator[object, object, None]:
        if self._started:
            raise RuntimeError("this piece has been awaited already")
        self._started = True
        return self._send(self._piece).__await__()


class _Sent:
    """What a blocking `stream()` returns: the piece is sent, awaiting it does nothing."""

    __slots__ = ()

    def __await__(self) -> Generator[object, object, None]:
        yield from ()


_SENT = _Sent()


def as_piece(value: object) -> PieceValue:
    """Return what a function streamed or yielded as a piece.

    Text and bytes stay what they are; models, dataclasses, dates and the like get their JSON form.

    Raises:
        TypeError: the value has no JSON form.
    """
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(cast("bytes", value))
    return _jsonable(value, "a stream piece")


def _jsonable(value: object, what: str) -> JsonValue:
    try:
        return cast("JsonValue", to_jsonable_python(value, bytes_mode="base64"))
    except (PydanticSerializationError, ValueError) as error:  # ValueError: it holds itself
        raise TypeError(f"{what} has no JSON form: {error}") from error


def _progress_of(done: float | None, total: float | None, message: str | None) -> Progress:
    if done is not None and not (math.isfinite(done) and done >= 0):
        raise ValueError(f"progress: done must be a number from 0 on, not {done}")
    if total is not None and not (math.isfinite(total) and total > 0):
        raise ValueError(f"progress: total must be a number above 0, not {total}")
    if done is not None and total is None:
        if done > 1:
            raise ValueError(
                f"progress: a fraction is at most 1, not {done}; give a total to count"
            )
        total = 1
    if message is not None:  # often a file name, and not all of those are UTF-8
        message = str(message).encode("utf-8", "replace").decode()
    return Progress(done=done, total=total, message=message)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
