"""The balancer's end of a link: says Hello, dispatches, takes reports, pieces and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from shared.protocol.bodies import Assembly, Large, Whole
from shared.protocol.codec import Decoder, UnknownKind
from shared.protocol.limits import BATCH_MESSAGES, MAX_BODY, MAX_HALVES, PART_BYTES
from shared.protocol.link import SMALL, Link, LinkHandler, LinkState, Wire
from shared.protocol.messages import (
    Accepted,
    Ack,
    Body,
    Cancel,
    Chunk,
    Credit,
    Demand,
    Dispatch,
    Event,
    Facts,
    Finished,
    FromWorker,
    Goodbye,
    Hello,
    Maintenance,
    Part,
    Refused,
    Report,
    Welcome,
)
from shared.protocol.version import MIN_VERSION, VERSION, is_spoken
from shared.task import PieceKind
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from shared.protocol.messages import AnyMessage, Message

_ENDINGS = frozenset(
    {TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.TIMED_OUT}
)
_PIECE_KINDS = frozenset(PieceKind)
_UP = LinkState.UP  # to look it up in its class costs as much as a call
# Acks that are worth a frame of their own. Fewer go with the next one, which under load is a dispatch,
# or on the tick: until then the worker only keeps results that nobody will ask for.
_ACKS_DUE = 64
_DECODER = Decoder(FromWorker)


class BalancerHandler(LinkHandler, Protocol):
    """What a balancer is told, in the order of the wire."""

    def welcomed(self, welcome: Welcome) -> None:
        """Take what the worker is and holds; the link is up from now on."""
        ...

    def reported(self, report: Report) -> None:
        """Take the worker's slots."""
        ...

    def refused(self, refused: Refused) -> None:
        """Apply the report, then take the dispatch back."""
        ...

    def chunk(self, chunk: Chunk) -> None:
        """Take one piece of a stream, whole whatever its size."""
        ...

    def finished(self, finished: Finished, result: bytes | None) -> None:
        """Take the end of an attempt; `ack` it when it is in safe hands."""
        ...

    def facts(self, facts: Facts) -> None:
        """Take what changed about the worker."""
        ...

    def event(self, event: Event) -> None:
        """Take what a function published."""
        ...


class BalancerLink(Link):
    """The machine of a balancer.

    Args:
        handler: is told what comes.
        wire: the shell.
        balancer_id: stable over restarts of the same balancer.
        boot_id: of this process start.
        resume_window_s: told to the worker; after it a silent balancer's attempts end.
        heartbeat_interval_s: seconds between two pings.
        heartbeat_timeout_s: seconds without anything after a ping that make a silence.
    """

    def __init__(
        self,
        handler: BalancerHandler,
        wire: Wire,
        *,
        balancer_id: str,
        boot_id: str,
        resume_window_s: float = 2.0,
        heartbeat_interval_s: float = 3.0,
        heartbeat_timeout_s: float = 3.0,
    ) -> None:
        super().__init__(
            handler,
            wire,
            _DECODER,
            heartbeat_interval_s=heartbeat_interval_s,
            heartbeat_timeout_s=heartbeat_timeout_s,
        )
        self._handler = handler
        self._hello = Hello(VERSION, MIN_VERSION, balancer_id, boot_id, resume_window_s)
        self._sent = 0  # number of the last Dispatch
        self._unaccepted: dict[str, bytes] = {}  # token → body that waits for Accepted
        self._unaccepted_bytes = 0
        self._halves: Assembly[Finished | Chunk] = Assembly(MAX_HALVES)
        self._acks: list[str] = []
        self._heavy: set[str] = set()  # tokens of results in parts: each fills the outbox
        self._demand: Demand | None = None

    @property
    def sent(self) -> int:
        """Return the number of the last dispatch of this link; reports name the last one read."""
        return self._sent

    @property
    def buffered(self) -> int:
        """Return how many bytes wait to be sent, bodies that wait for their acceptance included."""
        return super().buffered + self._unaccepted_bytes

    def opened(self, now_s: float) -> None:
        """Note that the socket is open, and say Hello."""
        super().opened(now_s)
        self._push(self._hello)

    def tick(self, now_s: float) -> None:
        """Look at the time, and send the acks that have found no frame."""
        super().tick(now_s)
        if self._acks:
            self._wake()

    # Intents; while the link is not up they do nothing

    def dispatch(
        self,
        *,
        token: str,
        task_id: str,
        function: str,
        mode: str,
        input: bytes,
        correlation_id: str = "",
        priority: float = 1,
        attempt: int = 1,
        durable: bool = False,
        timeout: float | None = None,
        remaining: float | None = None,
        metadata: bytes | None = None,
        credit: int = 0,
    ) -> int:
        """Send one attempt; input and metadata of more than PART_BYTES follow after Accepted.

        Returns:
            its number; 0 when nothing is sent, because the link is not up or the input and metadata
            are larger than MAX_BODY.
        """
        if self._state is not _UP:
            return 0
        size = len(input) + (len(metadata) if metadata is not None else 0)
        message = Dispatch(
            self._sent + 1, token, task_id, function, mode, input, correlation_id, priority,
            attempt, durable, timeout, remaining, metadata, 0, credit,
        )  # fmt: skip
        if size > PART_BYTES:
            if size > MAX_BODY:
                return 0
            self._detach_body(message, input, size)
            size = 0
        self._sent += 1
        self._push(message, SMALL + size)
        return self._sent

    def cancel(self, token: str, reason: str = "cancelled") -> None:
        """End an attempt; a body of it that is on its way is broken off."""
        if self._state is _UP:
            self._drop_body(token)
            self._push(Cancel(token, reason))

    def ack(self, token: str) -> None:
        """Let the worker forget a result; soon, in one message with others."""
        if self._state is _UP:
            self._acks.append(token)
            if len(self._acks) >= _ACKS_DUE or token in self._heavy:
                self._heavy.discard(token)
                self._wake()

    def credit(self, token: str, size: int) -> None:
        """Let a stream send `size` bytes more."""
        if self._state is _UP:
            self._push(Credit(token, size))

    def demand(self, count: int, best: float) -> None:
        """Tell how much waits here for the worker; of several in one frame the last one counts."""
        if self._state is _UP:
            self._demand = Demand(count, best)
            self._wake()

    def maintenance(self, on: bool) -> None:
        """Order the worker into maintenance or back."""
        if self._state is _UP:
            self._push(Maintenance(on))

    # What comes

    def _read_first(self, message: AnyMessage | UnknownKind) -> None:
        match message:
            case Welcome():
                self._on_welcome(message)
            case Goodbye():
                self._read_either(message)
            case _:
                self._fail(f"{type(message).__name__} before Welcome")

    def _read(self, message: AnyMessage | UnknownKind) -> None:
        match message:
            case Finished():
                self._on_finished(message)
            case Report():
                if self._is_sound(message):
                    self._handler.reported(message)
            case Chunk():
                self._on_chunk(message)
            case Part():
                self._on_part(message)
            case Accepted():
                self._on_accepted(message.token)
            case Refused():
                self._on_refused(message)
            case Facts():
                self._handler.facts(message)
            case Event():
                self._handler.event(message)
            case Welcome():
                self._fail("second Welcome on one link")
            case _:
                self._read_either(message)

    def _on_welcome(self, welcome: Welcome) -> None:
        if not is_spoken(welcome.version):
            problem = (
                f"the worker chose protocol version {welcome.version}, which is not spoken here"
            )
            self._fail(problem, "version")
        elif self._is_sound(welcome.report):
            self._state = LinkState.UP
            self._handler.welcomed(welcome)

    def _on_finished(self, finished: Finished) -> None:
        token = finished.token
        if finished.status not in _ENDINGS or not 0 <= finished.duration < float("inf"):
            self._fail(f"Finished with status {finished.status!r} after {finished.duration} s")
            return
        if self._halves:
            self._halves.drop(token)  # a piece that was broken off, or a result that was replaced
        if self._unaccepted or self._out.bodies:
            self._drop_body(token)
        if finished.body_size == 0:
            self._handler.finished(finished, finished.result)
            return
        problem = self._halves.begin(token, finished, finished.body_size)
        if problem:
            self._fail(problem)

    def _on_part(self, part: Part) -> None:
        finished = self._halves.announced_by(part.token)
        if not isinstance(finished, Finished):
            self._fail("Part without its Finished")
            return
        whole = self._halves.add(part.token, part.data, part.last)
        if isinstance(whole, Whole):
            finished.result = whole.data
            self._heavy.add(part.token)
            self._handler.finished(finished, whole.data)
        elif whole:
            self._fail(whole)

    def _on_chunk(self, chunk: Chunk) -> None:
        if chunk.seq < 1 or chunk.kind not in _PIECE_KINDS:
            self._fail(f"Chunk {chunk.seq} of kind {chunk.kind!r}")
        elif chunk.more or chunk.token in self._halves:
            self._on_piece_part(chunk)
        else:
            self._handler.chunk(chunk)

    def _on_piece_part(self, chunk: Chunk) -> None:
        begun = self._halves.announced_by(chunk.token)
        if isinstance(begun, Finished):
            self._fail("Chunk after Finished")
            return
        problem = ""
        if begun is None or begun.seq != chunk.seq:
            problem = self._halves.begin(chunk.token, chunk)
        whole = problem or self._halves.add(chunk.token, chunk.data, not chunk.more)
        if isinstance(whole, Whole):
            chunk.data = whole.data
            self._handler.chunk(chunk)
        elif whole:
            self._fail(whole)

    def _on_accepted(self, token: str) -> None:
        body = self._unaccepted.pop(token, None)
        if body is not None:  # else it was cancelled meanwhile
            self._unaccepted_bytes -= len(body)
            self._out.push_body(token, Large(body, lambda data, last: Body(token, data, last)))
            self._wake()

    def _on_refused(self, refused: Refused) -> None:
        self._drop_body(refused.token)
        if self._is_sound(refused.report):
            self._handler.refused(refused)

    def _is_sound(self, report: Report) -> bool:
        least = min(report.available, report.limit, report.used, report.queue, report.stuck)
        if least < 0 or not 0 <= report.seen <= self._sent:
            self._fail(f"report does not add up after dispatch {self._sent}: {report}")
            return False
        return True

    # Bodies and frames

    def _detach_body(self, message: Dispatch, input: bytes, size: int) -> None:
        body = input
        if message.metadata is not None:
            body += message.metadata
            message.metadata_size = len(message.metadata)
            message.metadata = None
        message.input = None
        message.body_size = size
        self._unaccepted[message.token] = body
        self._unaccepted_bytes += size

    def _drop_body(self, token: str) -> None:
        body = self._unaccepted.pop(token, None)
        if body is not None:
            self._unaccepted_bytes -= len(body)
        elif token in self._out.bodies:
            self._out.bodies.drop(token)

    def _complete(self, frame: list[Message]) -> None:
        super()._complete(frame)
        if self._acks:
            frame.append(Ack(self._acks[:BATCH_MESSAGES]))
            del self._acks[:BATCH_MESSAGES]
        if self._demand is not None:
            frame.append(self._demand)
            self._demand = None

    def _backlog(self) -> int:
        return super()._backlog() + len(self._acks)

    def _released(self) -> None:
        self._unaccepted.clear()
        self._unaccepted_bytes = 0
        self._halves.clear()
        self._acks.clear()
        self._heavy.clear()
