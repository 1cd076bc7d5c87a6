"""Two real link machines on a fake wire whose faults are verbs: lose, duplicate, hold, cut, reconnect.

The wire does what a shell must do and no more: it flushes a machine only after `wake`, and closes only
after `close`, so a machine that forgets to ask is found out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from shared.protocol.balancer_link import BalancerHandler, BalancerLink
from shared.protocol.link import Link
from shared.protocol.worker_link import WorkerHandler, WorkerLink

MAX_ROUNDS = 100_000  # of one `settle`; two machines that never stop talking are a bug
TICK_S = 0.1


@dataclass(slots=True)
class FakeWire:
    """A `Wire` that notes what it was asked to do."""

    awake: bool = False
    closing: tuple[str, str] | None = None
    wakes: int = 0

    def wake(self) -> None:
        """Note that there is something to flush."""
        self.awake = True
        self.wakes += 1

    def close(self, code: str, message: str) -> None:
        """Note that the socket is to be closed."""
        assert self.closing is None, "a link is closed once"
        self.closing = (code, message)


@dataclass(slots=True)
class Direction:
    """What is on its way from one machine to the other."""

    frames: deque[bytes] = field(default_factory=deque[bytes])
    sent: list[bytes] = field(
        default_factory=list[bytes]
    )  # every frame of this link, for looking at
    held: bool = False

    def lose(self) -> None:
        """Lose what is on its way."""
        self.frames.clear()

    def duplicate(self) -> None:
        """Let the frame that arrives next arrive twice."""
        if self.frames:
            self.frames.appendleft(self.frames[0])

    def hold(self) -> None:
        """Delay what is on its way, and what follows, until `release`."""
        self.held = True

    def release(self) -> None:
        """Let what was delayed arrive."""
        self.held = False


class LinkPair:
    """A balancer's and a worker's machine, joined; `connect` joins a new pair for the same handlers.

    Args:
        balancer_handler: told by every balancer machine of this pair.
        worker_handler: told by every worker machine of this pair.
        heartbeat_interval_s: of both.
        heartbeat_timeout_s: of both.
    """

    def __init__(
        self,
        balancer_handler: BalancerHandler,
        worker_handler: WorkerHandler,
        *,
        heartbeat_interval_s: float = 3.0,
        heartbeat_timeout_s: float = 3.0,
    ) -> None:
        self._balancer_handler = balancer_handler
        self._worker_handler = worker_handler
        self._heartbeat = (heartbeat_interval_s, heartbeat_timeout_s)
        self.now_s = 1000.0
        self._make_machines()

    def _make_machines(self) -> None:
        interval_s, timeout_s = self._heartbeat
        self.to_worker, self.to_balancer = Direction(), Direction()
        self.balancer_wire, self.worker_wire = FakeWire(), FakeWire()
        self.balancer = BalancerLink(
            self._balancer_handler,
            self.balancer_wire,
            balancer_id="balancer-1",
            boot_id="boot-1",
            heartbeat_interval_s=interval_s,
            heartbeat_timeout_s=timeout_s,
        )
        self.worker = WorkerLink(
            self._worker_handler,
            self.worker_wire,
            heartbeat_interval_s=interval_s,
            heartbeat_timeout_s=timeout_s,
        )

    def open(self) -> None:
        """Open the socket; nothing has been said yet."""
        self.worker.opened(self.now_s)
        self.balancer.opened(self.now_s)

    def open_new(self) -> None:
        """Cut what there is and open a socket for a new pair of machines."""
        self.cut()
        self._make_machines()
        self.open()

    def connect(self) -> None:
        """Cut what there is, make a new link and let both sides introduce themselves."""
        self.open_new()
        self.settle()

    def cut(self) -> None:
        """Cut the link: what is on its way is lost, both machines learn of it."""
        self.to_worker.lose()
        self.to_balancer.lose()
        self.balancer.closed(self.now_s)
        self.worker.closed(self.now_s)

    def flush(self) -> None:
        """Put on the way what both machines have to send, if they asked for it."""
        self.flush_to_worker()
        self.flush_to_balancer()

    def flush_to_worker(self, frames: int = MAX_ROUNDS) -> None:
        """Put frames of the balancer on the way; fewer than all is a socket that is full."""
        _flush(self.balancer, self.balancer_wire, self.to_worker, frames)

    def flush_to_balancer(self, frames: int = MAX_ROUNDS) -> None:
        """Put frames of the worker on the way; fewer than all is a socket that is full."""
        _flush(self.worker, self.worker_wire, self.to_balancer, frames)

    def deliver_to_worker(self) -> bool:
        """Let one frame arrive at the worker; False when none may."""
        return self._deliver(self.to_worker, self.worker)

    def deliver_to_balancer(self) -> bool:
        """Let one frame arrive at the balancer; False when none may."""
        return self._deliver(self.to_balancer, self.balancer)

    def _deliver(self, direction: Direction, machine: Link) -> bool:
        if direction.held or not direction.frames:
            return False
        machine.receive(direction.frames.popleft(), self.now_s)
        return True

    def settle(self) -> None:
        """Flush and deliver until both are quiet; what one side closed is closed for both."""
        for _ in range(MAX_ROUNDS):
            self.flush()
            to_worker, to_balancer = self.deliver_to_worker(), self.deliver_to_balancer()
            if not (to_worker or to_balancer or self.balancer_wire.awake or self.worker_wire.awake):
                break
        else:
            raise AssertionError(f"two machines are still talking after {MAX_ROUNDS} rounds")
        if self.balancer_wire.closing or self.worker_wire.closing:
            self.cut()

    def advance(self, seconds: float) -> None:
        """Let time pass, ticking and delivering as it goes."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(self.now_s + TICK_S, until_s)
            self.balancer.tick(self.now_s)
            self.worker.tick(self.now_s)
            self.settle()


def _flush(machine: Link, wire: FakeWire, direction: Direction, frames: int) -> None:
    if not wire.awake:
        return
    for _ in range(frames):
        frame = machine.flush()
        if frame is None:
            wire.awake = False
            return
        direction.frames.append(frame)
        direction.sent.append(frame)
    assert frames < MAX_ROUNDS, "a machine never stops sending"
