"""One link of a balancer while it lasts: what its machine reads becomes calls of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import Failure, failure
from shared.ids import TaskId, Token
from shared.log import Log
from shared.protocol.messages import Goodbye, Report, Welcome
from shared.task import Mode
from worker.attempt import Attempt
from worker.core.execution import cancelled
from worker.core.slot_gate import Claimant
from worker.peers import Peer, Peers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.protocol.messages import Dispatch, Hello
    from shared.protocol.worker_link import WorkerLink
    from shared.task import Piece
    from worker.authoring.task_function import Function

STALL_WINDOW_S = 30.0  # a link that stays silent so long has lost its other end

_STREAM = Mode.STREAM  # to look it up in its class costs as much as a call

_log = Log("worker")


class LinkSession:
    """One link of a balancer; implements `shared.protocol.worker_link.WorkerHandler`.

    Args:
        peers: all balancers.

    Attributes:
        link: the machine of the link; set by the shell before anything is received.
    """

    link: WorkerLink

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._engine = peers.engine
        self._claimant = Claimant()
        self._peer: Peer | None = None
        self._demand: tuple[int, float] = (0, 1)
        self._silent_since_s: float | None = None
        self._lost = True
        self._stop_reports: Callable[[], None] | None = None

    @property
    def balancer_id(self) -> str:
        """Return the id of the balancer; "" before its Hello."""
        return "" if self._peer is None else self._peer.id

    # What the machine calls

    def hello(self, hello: Hello) -> Welcome | Goodbye | None:
        """Take the balancer in and tell it what runs here and what waits for it."""
        if self._engine.closing:
            return Goodbye("shutting_down", "the worker stops")
        if not hello.balancer_id or not hello.boot_id:
            return Goodbye("protocol_error", "Hello without balancer_id or boot_id")
        peer = self._peer = self._peers.arrived(hello, self)
        self._engine.gate.join(self._claimant)
        running, waiting = self._peers.running(peer), self._peers.waiting(peer)
        for attempt in running:
            if attempt.owner is peer and attempt.channel is not None:
                self._resend(attempt.token, attempt.channel.window.kept())
        for entry in waiting:
            self._resend(entry.finished.token, entry.pieces)
            self.link.finished(entry.finished, entry.result)
        self._lost = False
        self._stop_reports = self._engine.on_change(self.link.touch)
        _log.event("link.connected", peer=peer.id, running=len(running), results=len(waiting))
        return self._peers.welcome(self.report(), running, waiting)

    def reserve(self, dispatch: Dispatch) -> Failure | str | None:
        """Take a slot for a dispatch, or refuse it at once: nothing from a link ever queues here."""
        engine = self._engine
        function = engine.function(dispatch.function)
        if function is None:
            text = f"Function '{dispatch.function}' not found"
            return self._refuse(failure("function_not_found", text))
        if dispatch.mode == _STREAM and not function.config.streaming:
            text = f"Function '{dispatch.function}' does not support streaming"
            return self._refuse(failure("streaming_not_supported", text))
        if engine.attempt(dispatch.token) is not None:
            return self._refuse(failure("superseded", "This attempt is running here already"))
        code = engine.gate.refusal(self._claimant)
        if code is not None:
            return self._refuse(failure(code))
        now_s = engine.clock.monotonic()
        engine.admit(self._attempt(dispatch, function, now_s), self._claimant, now_s)
        return None

    def dispatch(self, dispatch: Dispatch, input: bytes) -> None:
        """Run an attempt in the slot that was reserved for it."""
        attempt = self._engine.attempt(dispatch.token)
        if attempt is not None and attempt.outcome is None:
            attempt.metadata = dispatch.metadata  # of a large body it comes with the input
            self._engine.begin(attempt, input)

    def cancel(self, token: str, reason: str) -> None:
        """End an attempt; one whose owner is linked listens to its owner only."""
        attempt = self._engine.attempt(token)
        if attempt is None:
            return
        owner = attempt.owner
        if owner is self._peer or (isinstance(owner, Peer) and owner.session is None):
            self._engine.stop(attempt, cancelled())

    def acked(self, tokens: list[str]) -> None:
        """Forget results that are in safe hands."""
        self._peers.acknowledge(tokens)

    def credit(self, token: str, size: int) -> None:
        """Let a stream send more."""
        attempt = self._engine.attempt(token)
        if attempt is not None and attempt.channel is not None:
            attempt.channel.grant(size)

    def demand(self, count: int, best_priority: float) -> None:
        """Take note of what waits at the balancer; it may change what everybody is offered."""
        self._demand = (count, best_priority)
        self._tell(count, best_priority)

    def maintenance(self, on: bool) -> None:
        """Follow a maintenance order."""
        self._engine.set_maintenance(on)

    def report(self) -> Report:
        """Return the slots as offered to this link; the link fills in `seen`."""
        gate = self._engine.gate
        return Report(
            0,
            gate.available(self._claimant),
            gate.limit,
            gate.used,
            len(self._engine.direct),
            gate.stuck,
            gate.maintenance,
        )

    def silent(self) -> None:
        """Offer nothing to a balancer that does not answer."""
        self._silent_since_s = self._engine.clock.monotonic()
        _log.event("link.silent", peer=self.balancer_id)
        self._tell(0, 1)

    def heard(self) -> None:
        """Let a balancer that answers again compete as before."""
        self._silent_since_s = None
        self._tell(*self._demand)

    def broken(self, code: str, message: str) -> None:
        """Note why the link is over; the shell closes it and calls `closed`."""
        self.closed(f"{code}: {message[:200]}")

    # What the shell and the peers call

    def closed(self, reason: str = "the connection was closed") -> None:
        """Note that the link is over; calling it again does no harm."""
        if self._lost:
            return
        self._lost = True
        if self._stop_reports is not None:
            self._stop_reports()
        if self._peer is not None:
            _log.event("link.lost", peer=self._peer.id, reason=reason)
            self._peers.gone(self._peer, self)
        self._engine.gate.leave(self._claimant, self._engine.clock.monotonic())
        self._engine.changed()  # what was offered here is offered to others now

    def leave(self, code: str, message: str) -> None:
        """End the link on purpose."""
        self.closed(message)
        self.link.goodbye(code, message)

    def tick(self, now_s: float) -> None:
        """Tell what could wait, and close a link whose other end must be gone."""
        self.link.tell_rest()
        if self._silent_since_s is not None and now_s - self._silent_since_s >= STALL_WINDOW_S:
            self._silent_since_s = None
            self.leave("silent", f"nothing was heard for {STALL_WINDOW_S:g} s")

    def _tell(self, count: int, best_priority: float) -> None:
        now_s = self._engine.clock.monotonic()
        self._engine.gate.tell(self._claimant, count, best_priority, now_s)
        self._engine.changed()

    def _refuse(self, refusal: Failure) -> Failure:
        self._engine.counters.refuse(refusal.code)
        return refusal

    def _attempt(
        self, dispatch: Dispatch, function: Function[..., object], now_s: float
    ) -> Attempt:
        assert self._peer is not None, "the machine dispatches nothing before Hello"
        remaining_s = dispatch.remaining
        return Attempt(
            Token(dispatch.token), TaskId(dispatch.task_id), function, self._peer,
            dispatch.attempt, dispatch.durable,
            self._engine.timeout_of(function, dispatch.timeout),
            None if remaining_s is None else now_s + remaining_s,
            dispatch.mode == _STREAM, dispatch.credit, dispatch.metadata,
            dispatch.correlation_id, dispatch.n,
        )  # fmt: skip

    def _resend(self, token: str, pieces: Sequence[Piece]) -> None:
        """Send again the pieces that the balancer may not have; it knows them by their numbers."""
        for piece in pieces:
            self.link.chunk(token, piece.seq, piece.kind, piece.data)
