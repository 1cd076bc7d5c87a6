"""The client for code without an event loop: the async one, run on a loop in a thread of its own.

Nothing is implemented twice: each method here is the async method of the same name, waited for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from shared.client.client import Client
from shared.errors import CallerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from shared.client.events import Chunk, Progress
    from shared.client.records import Json
    from shared.client.stream import TaskStream

P = ParamSpec("P")
R = TypeVar("R")


class _LoopThread:
    """An event loop in a daemon thread, and the way to wait for what runs there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="cabrank-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Wait for a coroutine; Ctrl-C while waiting cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def end(self) -> None:
        """Stop the loop and wait for its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


def _waited(
    method: Callable[Concatenate[Client, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncClient, P], R]:
    """Return the method that runs an async one to its end."""

    @wraps(method)
    def waits(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(method(self.client, *args, **kwargs))

    return waits


def _streamed(
    method: Callable[Concatenate[Client, P], TaskStream],
) -> Callable[Concatenate[SyncClient, P], SyncStream]:
    """Return the method that gives a stream for a plain `for`."""

    @wraps(method)
    def streams(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> SyncStream:
        return SyncStream(self, method(self.client, *args, **kwargs))

    return streams


class SyncClient:
    """`Client` with methods that wait; usable from several threads, closed by `with` or `close`.

    Attributes:
        client: the async client that does the work.
    """

    def __init__(self, client: Client) -> None:
        """Take over a client that nobody else uses; `Client.sync(...)` makes both."""
        self.client = client
        self._thread: _LoopThread | None = _LoopThread()

    call = _waited(Client.call)
    stream = _streamed(Client.stream)
    submit = _waited(Client.submit)
    status = _waited(Client.status)
    tasks = _waited(Client.tasks)
    wait = _waited(Client.wait)
    cancel = _waited(Client.cancel)
    release = _waited(Client.release)
    dead_letters = _waited(Client.dead_letters)
    dead_letter = _waited(Client.dead_letter)
    replay = _waited(Client.replay)
    replay_all = _waited(Client.replay_all)
    purge = _waited(Client.purge)
    purge_all = _waited(Client.purge_all)
    workers = _waited(Client.workers)
    health = _waited(Client.health)

    @property
    def closed(self) -> bool:
        """Tell whether the client has been closed."""
        return self._thread is None

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Wait for a coroutine that runs on the client's own loop.

        Raises:
            CallerError: the client is closed.
        """
        if self._thread is None:
            coroutine.close()
            raise CallerError("The client is closed")
        return self._thread.run(coroutine)

    def close(self) -> None:
        """Close every connection and end the thread; closing twice does nothing."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            thread.run(self.client.close())
            thread.end()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()


class SyncStream:
    """`TaskStream` for a plain `for`; leaving the loop or the `with` before its end cancels the task."""

    def __init__(self, client: SyncClient, stream: TaskStream) -> None:
        self._client = client
        self._stream = stream

    @property
    def task_id(self) -> str | None:
        """Return the id of the task, once the server has told it."""
        return self._stream.task_id

    @property
    def ended(self) -> bool:
        """Tell whether the stream came to its proper end."""
        return self._stream.ended

    @property
    def result(self) -> Json:
        """Return what the function returned.

        Raises:
            CallerError: the stream has not ended yet.
        """
        return self._stream.result

    def __iter__(self) -> Iterator[Chunk | Progress]:
        """Give the pieces as they come."""
        events = aiter(self._stream)
        try:
            while (event := self._client.run(_next(events))) is not None:
                yield event
        finally:
            if not self._client.closed:
                self._client.run(events.aclose())

    def __enter__(self) -> Self:
        """Return the stream."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stream."""
        self.close()

    def close(self) -> None:
        """Close the connection; a task that still runs is cancelled."""
        if not self._client.closed:
            self._client.run(self._stream.aclose())


async def _next(events: AsyncGenerator[Chunk | Progress, None]) -> Chunk | Progress | None:
    return await anext(events, None)
