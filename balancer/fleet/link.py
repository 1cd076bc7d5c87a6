"""The balancer's end of a link: a WebSocket around the sans-I/O machine of `shared/protocol`.

It moves frames between the two and nothing else: what a message means is the machine's business,
what follows from it the engine's.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, cast

from balancer.core.events import Held
from balancer.fleet.link_socket import open_socket
from balancer.fleet.replies import problems_of
from shared.errors import CODES, Failure
from shared.ids import TaskId, Token
from shared.protocol.balancer_link import BalancerLink
from shared.protocol.limits import MAX_TEXT, PART_BYTES
from shared.slot_report import SlotReport
from shared.task import Outcome
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.live_task import LiveTask
    from balancer.fleet.ports import FleetEvents, Keeper
    from balancer.fleet.worker import FleetWorker
    from shared.clock import Clock
    from shared.edge.link_socket import LinkSocket
    from shared.protocol.messages import Chunk, Event, Facts, Finished, Refused, Report, Welcome

STREAM_CREDIT = (
    256 * 1024
)  # bytes of pieces under way in one stream; a slow reader holds back the rest
CREDIT_STEP = 32 * 1024  # credit is told once so much of it is due: not a message for every piece
# Dispatches that leave at once, not at the end of the loop turn that reads a burst of calls: the
# worker begins while we go on reading, and the two processes never wait for each other in turns.
EAGER = 8
FAREWELL_S = 2.0  # how long what is still to be said may take to leave
STUCK_S = 35.0  # without a word or a byte that gets through: nobody is at the other end
TICK_S = 0.25
_STATUSES = {status.value: status for status in TaskStatus}
_SUCCEEDED = TaskStatus.SUCCEEDED  # looking a member up costs more than the rest of `outcome_of`


class LinkPort:
    """One open link: the engine's port, the machine's handler and its wire in one.

    Args:
        worker: what is known of the worker; its report and facts are kept up to date.
        events: the engine.
        machine: makes the protocol machine around this handler and wire.
        welcome: takes the worker's Welcome; returns why it cannot be used, or None.
        opened: called when the worker is up: the engine has it.
        keeper: told when what is shown of the worker may have changed.
        tick_s: seconds between two looks at the time; less than a heartbeat's time-out, because a look
            that comes later than that says that we were suspended.
        stuck_s: seconds without a word from the worker, or a byte that it takes, after which the link is
            dialled anew.
    """

    def __init__(
        self, worker: FleetWorker, events: FleetEvents, clock: Clock, *,
        machine: Callable[[LinkPort], BalancerLink], welcome: Callable[[LinkPort, Welcome], str | None],
        opened: Callable[[LinkPort], None], keeper: Keeper, tick_s: float = TICK_S, stuck_s: float = STUCK_S,
    ) -> None:  # fmt: skip
        self.worker = worker
        self.open = False
        self.broken_by: str | None = None
        self._events = events
        self._clock = clock
        self._welcome = welcome
        self._opened = opened
        self._keeper = keeper
        self._tick_s = tick_s
        self._stuck_after_s = stuck_s
        self._due: dict[Token, int] = {}  # credit of streams that is not told yet
        self._socket: LinkSocket | None = None
        self._flushing = False  # a flush is due in this turn
        self._over = asyncio.Event()
        self._fault: Exception | None = None  # a bug of ours
        self._stuck_s: float | None = None  # since when nothing gets through
        self._machine = machine(self)

    # The engine's port

    def dispatch(self, task: LiveTask, body: bytes, remaining_s: float | None) -> bool:
        """Queue a dispatch; it leaves with this loop turn's frame, or with many others at once."""
        if not self.open or task.token is None:
            return False
        request = task.request
        number = self._machine.dispatch(
            token=task.token, task_id=task.id, function=request.function, mode=request.mode,
            input=body, correlation_id=request.correlation_id, priority=request.priority,
            attempt=task.number, durable=task.durable, timeout=request.timeout_s,
            remaining=remaining_s, metadata=request.metadata,
            credit=STREAM_CREDIT if task.streams else 0,
        )  # fmt: skip
        if self._machine.ready >= EAGER:
            self._flush()
        return number > 0

    def cancel(self, token: Token, reason: str) -> None:
        """Queue a cancel."""
        self._machine.cancel(token, reason)

    def ack(self, token: Token) -> None:
        """Queue an acknowledgement."""
        self._machine.ack(token)

    def credit(self, token: Token, size: int) -> None:
        """Queue credit for a stream, once enough is due.

        What is due goes with the link: pieces that come again on the next one are credited there.
        """
        due = self._due.get(token, 0) + size
        if due < CREDIT_STEP:
            self._due[token] = due
        else:
            self._due.pop(token, None)
            self._machine.credit(token, due)

    def demand(self, count: int, best_priority: float) -> None:
        """Queue the demand."""
        self._machine.demand(count, best_priority)

    def maintenance(self, on: bool) -> None:
        """Queue an order."""
        self._machine.maintenance(on)

    # The machine's handler

    def welcomed(self, welcome: Welcome) -> None:
        """Take the worker, or close when it cannot be used."""
        problem = self._welcome(self, welcome)
        if problem is not None:
            self.broken_by = problem
            self._machine.goodbye("refused", problem)
            return
        self.open = True
        worker = self.worker
        report = worker.report = report_of(welcome.report)
        holding = [Held(Token(h.token), TaskId(h.task_id), h.finished) for h in welcome.holding]
        self._events.worker_up(self, worker.core_facts(), report, holding)
        self._opened(self)

    def reported(self, report: Report) -> None:
        """Pass a report on."""
        before, slots = self.worker.report, report_of(report)
        self.worker.report = slots
        self._events.reported(self.worker.id, slots)
        if before is None or before.maintenance != slots.maintenance:
            self._keeper.noted(self.worker)

    def refused(self, refused: Refused) -> None:
        """Pass a refusal on."""
        report = self.worker.report = report_of(refused.report)
        self._events.refused(
            self.worker.id, Token(refused.token), refused.code, refused.message, report
        )

    def chunk(self, chunk: Chunk) -> None:
        """Pass a piece on."""
        self._events.chunk(self.worker.id, Token(chunk.token), chunk.seq, chunk.kind, chunk.data)

    def finished(self, finished: Finished, result: bytes | None) -> None:
        """Pass the end of an attempt on."""
        self._due.pop(Token(finished.token), None)
        self._events.finished(
            self.worker.id,
            Token(finished.token),
            TaskId(finished.task_id),
            outcome_of(finished, result),
        )

    def facts(self, facts: Facts) -> None:
        """Keep what changed about the worker."""
        self.worker.learn_json(facts.facts)
        pool = self.worker.pool
        if facts.functions is None or pool is None:
            return
        if self.worker.announce(*pool, decoded_list(facts.functions)):
            self._keeper.known(self.worker)

    def event(self, event: Event) -> None:
        """Drop what a function published: nobody can subscribe yet (orchestration will)."""

    def silent(self) -> None:
        """Give the worker nothing while it is silent."""
        self.worker.silent = True
        self._events.silent(self.worker.id)
        self._keeper.noted(self.worker)

    def heard(self) -> None:
        """Give it tasks again."""
        self.worker.silent = False
        self._events.heard(self.worker.id)
        self._keeper.noted(self.worker)

    def broken(self, code: str, message: str) -> None:
        """Remember why the link ended; the socket follows."""
        self.broken_by = self.broken_by or f"{code}: {message}"

    # The machine's wire

    def wake(self) -> None:
        """Flush in this turn of the loop: there is something to send."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self, code: str, message: str) -> None:
        """Remember why the machine gave the link up; `run` closes the socket."""
        self.broken_by = self.broken_by or f"{code}: {message}"
        asyncio.get_running_loop().call_later(FAREWELL_S, self._over.set)
        self.wake()

    # The socket's receiver

    def received(self, frame: bytes) -> None:
        """Take a frame."""
        if self._over.is_set():
            return
        try:
            self._machine.receive(frame, self._clock.monotonic())
        except Exception as exc:  # it reads whatever comes: this is a bug of ours
            self._fail(exc)

    def writable(self) -> None:
        """Go on sending."""
        self._flush()

    def lost(self) -> None:
        """End."""
        self._over.set()

    # Life

    def goodbye(self, code: str, message: str) -> None:
        """Close on purpose."""
        self._machine.goodbye(code, message)

    async def run(self, url: str, lb_key: str, timeout_s: float) -> None:
        """Open the link and serve it until it closes.

        Raises:
            OSError, TimeoutError, WebSocketException: it could not be opened.
            Exception: a bug of ours ended it.
        """
        address = f"ws{url.removeprefix('http')}/link"
        socket = self._socket = await open_socket(address, lb_key, self, timeout_s)
        self._machine.opened(self._clock.monotonic())
        loops = [asyncio.ensure_future(part) for part in (self._over.wait(), self._tick())]
        try:
            await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        finally:
            was_open, self.open = self.open, False
            for loop in loops:
                loop.cancel()
            ends = await asyncio.gather(*loops, return_exceptions=True)
            self._machine.closed(self._clock.monotonic())
            if self.worker.port is self:
                self.worker.port, self.worker.link, self.worker.silent = None, "none", False
            if was_open:
                self._events.link_lost(self.worker.id)
            await socket.close()
        for end in (*ends, self._fault):
            if isinstance(end, Exception):
                raise end

    def _flush(self) -> None:
        """Send what is ready and what the socket takes."""
        self._flushing = False
        socket = self._socket
        if socket is None or self._over.is_set():
            return
        try:
            while not socket.full:  # else `writable` goes on
                frame = self._machine.flush()
                if frame is None:
                    if self.broken_by is not None:
                        self._over.set()
                    return
                socket.send(frame)
                if len(frame) > PART_BYTES:  # a large body leaves room for others in between
                    self.wake()
                    return
        except Exception as exc:  # a bug of ours
            self._fail(exc)

    def _fail(self, fault: Exception) -> None:
        """End the link because of a bug; `run` raises it."""
        self._fault = self._fault or fault
        self._over.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            now_s = self._clock.monotonic()
            self._machine.tick(now_s)
            self.worker.latency_s = self._machine.latency_s
            stuck = self.worker.silent or (self._socket is not None and self._socket.full)
            if not stuck:
                self._stuck_s = None
            elif self._stuck_s is None:
                self._stuck_s = now_s
            elif now_s - self._stuck_s > self._stuck_after_s:
                # Its host may have vanished without a word: TCP alone would wait a quarter of an hour.
                self.broken_by = (
                    self.broken_by or f"nothing got through for {self._stuck_after_s:g} s"
                )
                return


def report_of(message: Report) -> SlotReport:
    """Return a report from its message."""
    return SlotReport(
        seen=message.seen, available=message.available, limit=message.limit, used=message.used,
        queue=message.queue, stuck=message.stuck, maintenance=message.maintenance,
    )  # fmt: skip


def outcome_of(message: Finished, result: bytes | None) -> Outcome:
    """Return an attempt's outcome from its message; a status that is not known is a failure."""
    status = _STATUSES.get(message.status, TaskStatus.FAILED)
    if status is _SUCCEEDED:
        return Outcome(_SUCCEEDED, result)
    details = problems_of(decoded_list(message.details or b"[]"))
    # What a worker makes up must not become a code of ours, nor a page of text.
    code = message.code if message.code in CODES else "function_error"
    failed = Failure(code, message.message[:MAX_TEXT], details, message.error_type)
    return Outcome(status, None, failed)


def decoded_list(raw: bytes) -> list[object]:
    """Return a JSON array; an empty list for anything else."""
    try:
        value: object = json.loads(raw)
    except ValueError:
        return []
    return cast("list[object]", value) if isinstance(value, list) else []
