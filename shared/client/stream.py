"""A task that answers piece by piece: the async iterator that `Client.stream` returns.

The stream is Server-Sent Events (contract §2), so it can be taken up again: a connection that
breaks is made anew after the last event that came. A reader that leaves on purpose says so by
cancelling the task, because the server would otherwise wait for it to come back.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import quote

from shared.client.answers import bad_answer
from shared.client.ask import Ask
from shared.client.events import Chunk, Ended, Progress, Returned, read_event
from shared.client.sse import EventReader, EventTooLarge
from shared.errors import CabrankError, CallerError, Failure, error_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from types import TracebackType

    import aiohttp

    from shared.client.records import Json
    from shared.client.sse import ServerEvent
    from shared.client.transport import Transport

CONTENT_TYPE = "text/event-stream"
MAX_RESUMES = 5  # in a row, without an event between them
# The server sends a comment every 15 s when a stream has nothing to say; after four of them it is gone.
SILENCE_S = 60.0
LEAVE_LIMIT_S = 5.0  # for telling the server that the reader has left; it notices by itself, later


class OpensTransport(Protocol):
    """Gives the transport of a client, made with the first request."""

    def __call__(self) -> Transport:
        """Return the transport."""
        ...


class TaskStream:
    """The pieces of one task as they come: `async for event in stream`.

    The task is submitted when the iteration begins. Leaving the loop before its end cancels the
    task; `async with` or `aclose()` does it at a stated place.

    Attributes:
        task_id: id of the task, once the server has told it.
        ended: the stream came to its proper end.
    """

    def __init__(self, transport: OpensTransport, ask: Ask) -> None:
        self.task_id: str | None = None
        self.ended = False
        self._transport = transport
        self._ask = ask
        self._result: Json = None
        self._error: CabrankError | None = None  # told in band
        self._begun = False
        self._over = False  # nothing more will come and nobody needs to be told
        self._last_id = ""
        self._response: aiohttp.ClientResponse | None = None

    @property
    def result(self) -> Json:
        """Return what the function returned.

        Raises:
            CallerError: the stream has not ended yet.
            CabrankError: it ended with this error.
        """
        if self._error is not None:
            raise self._error
        if not self.ended:
            raise CallerError("The result of a stream is known after its end")
        return self._result

    def __aiter__(self) -> AsyncGenerator[Chunk | Progress, None]:
        """Begin; a stream is read once.

        Raises:
            CallerError: it has been read already.
        """
        if self._begun:
            raise CallerError("A stream can be read only once")
        self._begun = True
        # Nobody but the loop that iterates holds the generator, so leaving the loop ends it.
        return self._read()

    async def __aenter__(self) -> Self:
        """Return the stream; leaving the block closes it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stream."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection and cancel the task, unless it has ended; a second time does nothing."""
        if self._over or not self._begun:
            return
        self._over = True
        if self._response is not None:
            self._response.close()
        if self.task_id is not None:
            path = f"/tasks/{quote(self.task_id, safe='')}/cancel"
            with suppress(CabrankError):
                await self._transport().request(
                    Ask(method="POST", path=path, limit_s=LEAVE_LIMIT_S)
                )

    async def _read(self) -> AsyncGenerator[Chunk | Progress, None]:
        ask, resumes = self._ask, 0
        try:
            while not self.ended:
                last_id = self._last_id
                try:
                    async with aclosing(self._connection(ask)) as events:
                        async for event in events:
                            yield event
                except CabrankError as error:
                    resumes = resumes + 1 if self._last_id == last_id else 1
                    ask = self._resuming(error, resumes)
            self._over = True
        finally:
            await self.aclose()
        if self._error is not None:
            raise self._error

    def _resuming(self, error: CabrankError, resumes: int) -> Ask:
        """Return the request that takes the stream up again.

        Raises:
            CabrankError: it cannot be.
        """
        if error.code == "connection_lost" and self.task_id and self._last_id:
            if resumes <= MAX_RESUMES:
                return Ask(
                    method="GET",
                    path=f"/tasks/{quote(self.task_id, safe='')}/stream",
                    headers={**self._ask.headers, "Last-Event-ID": self._last_id},
                    limit_s=SILENCE_S,
                    silence_s=SILENCE_S,
                )
        elif error.code in ("task_not_found", "not_found") and self._last_id:
            text = "The connection was lost and the stream is no longer kept"
            error = error_of(Failure("connection_lost", text))
        self._over = error.code != "timeout"  # a server that is silent may still run the task
        raise self._named(error)

    async def _connection(self, ask: Ask) -> AsyncGenerator[Chunk | Progress, None]:
        """Give the events of one connection, up to the stream's end."""
        transport = self._transport()
        async with transport.opened(ask) as response:
            self._response = response
            self.task_id = response.headers.get("x-task-id", self.task_id)
            if response.content_type != CONTENT_TYPE:
                raise bad_answer(f"a stream of type {response.content_type}")
            async with aclosing(transport.pieces(ask, response)) as pieces:
                async for piece in self._events(pieces):
                    yield piece
        if not self.ended:
            text = "The connection was closed before the stream had ended"
            raise error_of(Failure("connection_lost", text))

    async def _events(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[Chunk | Progress, None]:
        reader = EventReader()
        async for piece in pieces:
            for event in _cut(reader, piece):
                read = read_event(event)
                self._last_id = event.id or self._last_id
                if isinstance(read, Chunk | Progress):
                    yield read
                elif isinstance(read, Returned):
                    self._result = read.value
                elif isinstance(read, Ended):
                    self.task_id, self.ended = read.task_id or self.task_id, True
                    self._error = self._error and self._named(self._error)
                    return
                elif read is not None:
                    self._error = read  # raised after the end, which tells the task's id

    def _named(self, error: CabrankError) -> CabrankError:
        error.task_id = error.task_id or self.task_id
        return error


def _cut(reader: EventReader, piece: bytes) -> list[ServerEvent]:
    try:
        return reader.feed(piece)
    except EventTooLarge as exc:
        raise bad_answer("an event that is too large") from exc
