"""The balancers: what each has running here, and the results that wait for it.

An attempt belongs to its balancer, not to the link it came by. `Peer` is a balancer, known by its id
over any number of links; `Peers` keeps them and the outbox; a link itself is `worker.session`.

    a link closes          attempts go on, results wait in the outbox
    the balancer is back   its Welcome names what runs and what waits; results and pieces that it
                           has not acknowledged are offered again
    it stays away          after its resume window its sync and stream attempts are cancelled; the
                           durable ones go on, for whichever balancer says Hello next
    it is back after that  it is told what was given up: it may have noticed the cut later than we
                           did, and what no Welcome names counts as never begun and is run again
    it is back, new boot   the callers of the old boot are gone: all theirs ends at once, untold
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from shared.log import Log
from shared.protocol.messages import Finished, Holding, Welcome
from shared.task_state import TaskStatus
from worker.core.execution import cancelled
from worker.core.outbox import Entry, Outbox
from worker.outcome import encode_json

if TYPE_CHECKING:
    from shared.protocol.messages import Hello, Report
    from shared.task import Outcome, Piece
    from worker.attempt import Attempt
    from worker.engine import WorkerEngine
    from worker.facts import WorkerFacts
    from worker.session import LinkSession

# How long a balancer that is away is remembered. Longer than any of its own windows (RESUME_WINDOW,
# STALL_WINDOW): afterwards it has given up the attempts itself.
FORGET_S = 120.0
FACTS_INTERVAL_S = 5.0  # how old the load of the machine may get at a balancer

_STATUSES = {status: status.value for status in TaskStatus}  # `.value` is a call each time
_CANCELLED = TaskStatus.CANCELLED  # to look it up in its class costs nearly as much

_log = Log("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this worker is to balancers.

    Attributes:
        worker_id: stable over restarts and the same by every address.
        boot_id: of this process start.
        software: name and version.
        group: of functions.
        contract: version of the group's interface.
    """

    worker_id: str
    boot_id: str
    software: str
    group: str
    contract: int


class Peer:
    """A balancer; the owner of the attempts that it dispatched."""

    __slots__ = ("_outbox", "away_since_s", "boot", "gone_s", "id", "session", "window_s")

    def __init__(self, balancer_id: str, outbox: Outbox) -> None:
        self.id = balancer_id
        self.boot = ""
        self.window_s = 0.0
        self.session: LinkSession | None = None
        self.away_since_s: float | None = (
            None  # None while a link is there, or after it was given up
        )
        self.gone_s: float | None = None  # since when no link is there
        self._outbox = outbox

    def piece(self, attempt: Attempt, piece: Piece) -> None:
        """Send a piece; while no link is there, the attempt's window keeps it."""
        if self.session is not None:
            self.session.link.chunk(attempt.token, piece.seq, piece.kind, piece.data)

    def event(self, attempt: Attempt, name: str, data: bytes) -> None:
        """Send an event; without a link it has no reader."""
        if self.session is not None:
            self.session.link.event(attempt.token, name, data)

    def decided(self, attempt: Attempt, outcome: Outcome) -> None:
        """Offer the outcome, and keep it until it is acknowledged; a cancelled one nobody waits for."""
        finished = _finished(attempt, outcome)
        if outcome.status is not _CANCELLED:
            pieces = attempt.channel.window.kept() if attempt.streams and attempt.channel else ()
            entry = Entry(
                finished, outcome.result, self.id, attempt.durable, attempt.attempt,
                attempt.function, pieces,
            )  # fmt: skip
            self._outbox.put(entry)
        if self.session is not None:
            self.session.link.finished(finished, outcome.result)


class Peers:
    """The balancers that are linked, or were and left something here.

    Args:
        engine: has the slots.
        identity: goes into every Welcome.
        facts: go into every Welcome, and to every link when they change.
        outbox: keeps results.
    """

    def __init__(
        self,
        engine: WorkerEngine,
        identity: Identity,
        facts: WorkerFacts,
        outbox: Outbox | None = None,
    ) -> None:
        self.engine = engine
        self.identity = identity
        self.facts = facts
        self.outbox = Outbox() if outbox is None else outbox
        self._peers: dict[str, Peer] = {}
        self._functions = msgspec.json.encode([spec.wire() for spec in engine.specs()])
        self._facts_s = 0.0
        self._full = False
        engine.join(self)
        facts.on_change(self.tell_facts)

    def __len__(self) -> int:
        """Return the balancers that are known."""
        return len(self._peers)

    def sessions(self) -> list[LinkSession]:
        """Return the links that are up."""
        return [peer.session for peer in self._peers.values() if peer.session is not None]

    # What the engine calls

    def tick(self, now_s: float) -> None:
        """Give up balancers that stay away, close links that are dead, refresh the load."""
        for peer in list(self._peers.values()):
            if peer.away_since_s is not None and now_s - peer.away_since_s >= peer.window_s:
                peer.away_since_s = None
                self.give_up(peer)
            if peer.session is not None:
                peer.session.tick(now_s)
            if peer.gone_s is not None and now_s - peer.gone_s >= FORGET_S:
                self.outbox.drop_transient(peer.id)
            if (
                peer.session is None
                and peer.away_since_s is None
                and not self._left_something(peer)
            ):
                del self._peers[peer.id]
        self.weigh_outbox()
        if now_s - self._facts_s >= FACTS_INTERVAL_S:
            self._facts_s = now_s
            self.tell_facts()

    def idle(self) -> bool:
        """Tell whether no result waits that a balancer which is linked could take.

        A durable one waits until it is acknowledged. Any other waits until it is sent: it precedes
        the Goodbye on the wire, and its acknowledgement would change nothing.
        """
        sessions = self.sessions()
        return not sessions or not (
            self.outbox.durable or any(session.link.buffered for session in sessions)
        )

    def close(self) -> None:
        """Say Goodbye on every link, so that what is stopped next is not taken for a result."""
        for session in self.sessions():
            session.leave("shutting_down", "the worker stops")

    # What the links call

    def arrived(self, hello: Hello, session: LinkSession) -> Peer:
        """Take a balancer in: its older link is killed, its older boot's callers are gone."""
        peer = self._peers.get(hello.balancer_id)
        if peer is None:
            peer = self._peers[hello.balancer_id] = Peer(hello.balancer_id, self.outbox)
        if peer.session is not None:
            peer.session.leave("replaced", "the balancer has opened another link")
        if peer.boot and peer.boot != hello.boot_id:
            self.give_up(peer)
            self.outbox.drop_transient(peer.id)
        peer.boot = hello.boot_id
        peer.window_s = hello.resume_window
        peer.away_since_s = peer.gone_s = None
        peer.session = session
        return peer

    def gone(self, peer: Peer, session: LinkSession) -> None:
        """Note that a link is over; its balancer may resume on another one."""
        if peer.session is session:
            peer.session = None
            peer.away_since_s = peer.gone_s = self.engine.clock.monotonic()

    def give_up(self, peer: Peer) -> None:
        """Cancel the sync and stream attempts of a balancer; it is told so if it comes back."""
        stopped = [
            attempt
            for attempt in self.engine.attempts()
            if attempt.owner is peer and not attempt.durable and attempt.outcome is None
        ]
        for attempt in stopped:
            self.engine.stop(attempt, cancelled())
            self.outbox.put(_entry(peer, attempt, cancelled()))
        if stopped:
            _log.warning("gave a balancer up", balancer=peer.id, attempts=len(stopped))

    def acknowledge(self, tokens: list[str]) -> None:
        """Forget results that are in safe hands."""
        acknowledge = self.outbox.acknowledge
        for token in tokens:
            acknowledge(token)
        self.weigh_outbox()

    def weigh_outbox(self) -> None:
        """Give links no slots while the outbox is full."""
        full = self.outbox.full
        if full != self._full:
            self._full = full
            self.engine.gate.set_full_outbox(self._full, self.engine.clock.monotonic())
            self.engine.changed()

    def running(self, peer: Peer) -> list[Attempt]:
        """Return the undecided attempts that concern a balancer."""
        return [
            attempt
            for attempt in self.engine.attempts()
            if attempt.outcome is None
            and self._concerns(peer, attempt.owner, durable=attempt.durable)
        ]

    def waiting(self, peer: Peer) -> list[Entry]:
        """Return the results that concern a balancer."""
        return self.outbox.select(
            lambda entry: self._concerns(
                peer, self._peers.get(entry.balancer), durable=entry.durable
            )
        )

    def welcome(self, report: Report, running: list[Attempt], waiting: list[Entry]) -> Welcome:
        """Return the answer to a Hello."""
        holding = [
            Holding(
                each.token,
                each.task_id,
                each.attempt,
                each.durable,
                False,
                each.function,
                each.number,
            )
            for each in running
        ]
        holding += [
            Holding(
                each.finished.token,
                each.finished.task_id,
                each.attempt,
                each.durable,
                True,
                each.function,
            )
            for each in waiting
        ]
        who = self.identity
        return Welcome(
            0, who.worker_id, who.boot_id, who.software, who.group, who.contract,
            self._functions, report, holding, self.facts.encoded(),
        )  # fmt: skip

    def tell_facts(self) -> None:
        """Send the facts to every link."""
        sessions = self.sessions()
        if sessions:
            encoded = self.facts.encoded()
            for session in sessions:
                session.link.facts(encoded)

    def _concerns(self, peer: Peer, owner: object, *, durable: bool) -> bool:
        """Tell whether a balancer is to hear of an attempt.

        Its own always; another's when it is durable and the other is not linked. While the owner is
        linked nobody else can take the attempt over.
        """
        if owner is peer:
            return True
        linked = isinstance(owner, Peer) and owner.session is not None
        return durable and not linked

    def _left_something(self, peer: Peer) -> bool:
        if any(attempt.owner is peer for attempt in self.engine.attempts()):
            return True
        return bool(self.outbox.select(lambda each: each.balancer == peer.id and not each.durable))


def _entry(peer: Peer, attempt: Attempt, outcome: Outcome) -> Entry:
    """Return an outcome as the outbox keeps it."""
    return Entry(
        _finished(attempt, outcome),
        outcome.result,
        balancer=peer.id,
        durable=attempt.durable,
        attempt=attempt.attempt,
        function=attempt.function,
    )


def _finished(attempt: Attempt, outcome: Outcome) -> Finished:
    """Return the message of an outcome, in the form in which a link sends it unless it is large."""
    found = outcome.failure
    finished = Finished(
        attempt.token, attempt.task_id, _STATUSES[outcome.status], outcome.result,
        duration=attempt.seconds,
    )  # fmt: skip
    if found is not None:
        finished.code = found.code
        finished.message = found.message
        finished.error_type = found.error_type
        if found.details:
            finished.details = encode_json(found.details)
    return finished
