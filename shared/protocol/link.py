"""The link without I/O: what both roles share. `balancer_link.py` and `worker_link.py` add the rest.

A machine is fed with frames and time, tells its handler what they mean, and gives out frames. Its
shell (a WebSocket on one side or the other) does this and nothing else:

* it calls `opened` when the socket is open, `receive` for every binary message, `tick` several times
  a `heartbeat_timeout_s`, and `closed` when the socket is gone;
* after `Wire.wake` it soon calls `flush` until that returns None, sends each frame, and waits for the
  socket to drain between two frames: what is cut late is newer and is shared more fairly;
* after `Wire.close` it does the same once more (the last frame says Goodbye) and closes the socket.

    OPENING ──Hello / Welcome──▶ UP ──closed(), Goodbye either way, a broken rule──▶ CLOSED

A machine is used for one link only. In CLOSED nothing is delivered any more, so the bytes of a killed
link that are still unread count for nothing. Nothing that comes from the network makes it raise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from shared.protocol.codec import Decoder, ProtocolFault, UnknownKind, encode
from shared.protocol.heartbeat import Heartbeat
from shared.protocol.limits import MAX_BACKLOG, MAX_FRAME, MAX_UNKNOWN_KINDS
from shared.protocol.messages import Goodbye, Ping, Pong, Unsupported
from shared.protocol.outgoing import Outgoing

if TYPE_CHECKING:
    from shared.protocol.messages import AnyMessage, Message

SMALL = 160  # bytes that a message counts for besides the data it carries; ids and names, about
MAX_PROBLEM = 500  # characters of what is said about a link that ends


class Wire(Protocol):
    """The shell of a link, as its machine sees it."""

    def wake(self) -> None:
        """Call `flush` soon, until it returns None; never from within this call."""
        ...

    def close(self, code: str, message: str) -> None:
        """Soon send what `flush` still gives, close the socket, then call `closed`."""
        ...


class LinkHandler(Protocol):
    """What both roles are told."""

    def silent(self) -> None:
        """Note that the link is open and nothing comes."""
        ...

    def heard(self) -> None:
        """Note that something comes again after a silence."""
        ...

    def broken(self, code: str, message: str) -> None:
        """Note that the link is over, by the peer's Goodbye or a rule that was broken; at most once."""
        ...


class LinkState(Enum):
    """Where a link is in its life."""

    OPENING = "opening"
    UP = "up"
    CLOSED = "closed"


_UP = LinkState.UP  # to look it up in its class costs as much as a call


class Link(ABC):
    """One end of a link.

    Args:
        handler: is told what comes.
        wire: the shell.
        decoder: of the frames that come from the other role.
        heartbeat_interval_s: seconds between two pings.
        heartbeat_timeout_s: seconds without anything after a ping that make a silence.
    """

    def __init__(
        self,
        handler: LinkHandler,
        wire: Wire,
        decoder: Decoder,
        *,
        heartbeat_interval_s: float,
        heartbeat_timeout_s: float,
    ) -> None:
        self._wire = wire
        self._decoder = decoder
        self._heartbeat = Heartbeat(heartbeat_interval_s, heartbeat_timeout_s)
        self._out = Outgoing()
        self._state = LinkState.OPENING
        self._awake = False  # the shell knows that there is something to flush
        self._now_s = 0.0
        self._pong: int | None = None  # only the newest ping is answered
        self._unknown: set[int] = set()
        self._listener = handler

    # What the shell and the owner may ask

    @property
    def state(self) -> LinkState:
        """Return where the link is in its life."""
        return self._state

    @property
    def up(self) -> bool:
        """Tell whether both sides have introduced themselves and neither has left."""
        return self._state is LinkState.UP

    @property
    def latency_s(self) -> float | None:
        """Return the round-trip time of the last measured ping; None before the first."""
        return self._heartbeat.latency_s

    @property
    def buffered(self) -> int:
        """Return how many bytes wait to be sent, about: who produces more should wait while it is high."""
        return self._out.size

    @property
    def ready(self) -> int:
        """Return how many small messages wait to be sent, about: many may leave before the turn ends."""
        return self._out.count

    # What the shell calls

    def opened(self, now_s: float) -> None:
        """Note that the socket is open; the first message of the peer is due."""
        self._heartbeat.asked(now_s)

    def receive(self, frame: bytes, now_s: float) -> None:
        """Take a frame of the peer."""
        if self._state is LinkState.CLOSED:
            return
        self._now_s = now_s
        if self._heartbeat.heard():
            self._listener.heard()
        found = self._decoder.decode(frame)
        if isinstance(found, ProtocolFault):
            self._fail(found.problem)
            return
        for message in found:
            self._take(message)
        if self._backlog() > MAX_BACKLOG and self.up:
            self._fail(f"more than {MAX_BACKLOG} answers are waiting and are not read")

    def flush(self) -> bytes | None:
        """Return the next frame; None when there is nothing to send."""
        frame = self._out.take()
        if self._state is _UP:
            self._complete(frame)
        if not frame:
            self._awake = False
            return None
        encoded = encode(frame)
        if len(encoded) > MAX_FRAME and self._state is LinkState.UP:
            self._fail(f"a frame of {len(encoded)} bytes is due, at most {MAX_FRAME} are allowed")
            return self.flush()
        return encoded

    def tick(self, now_s: float) -> None:
        """Look at the time: ping, and notice a silence."""
        if self._state is LinkState.CLOSED:
            return
        if self._heartbeat.falls_silent(now_s):
            self._listener.silent()
        if self._state is not LinkState.UP:
            return
        n = self._heartbeat.ping_due(now_s)
        if n is not None:
            self._push(Ping(n))

    def closed(self, now_s: float) -> None:
        """Note that the socket is gone; nothing is delivered or sent any more."""
        self._now_s = now_s
        self._end()
        self._out.clear()

    # Intents of both roles

    def goodbye(self, code: str, message: str = "") -> None:
        """Close the link on purpose, after the small messages that wait already; bodies are left out."""
        if self._state is LinkState.CLOSED:
            return
        if self._state is LinkState.UP:
            last: list[Message] = []
            self._complete(last)
            for each in last:
                self._push(each)
        self._part(Goodbye(code, message))

    # What the roles add

    @abstractmethod
    def _read_first(self, message: AnyMessage | UnknownKind) -> None:
        """Take a message while the peer has not introduced itself."""

    @abstractmethod
    def _read(self, message: AnyMessage | UnknownKind) -> None:
        """Take a message of a link that is up."""

    def _complete(self, frame: list[Message]) -> None:
        """Add what is only made when a frame is cut; roles extend it."""
        if self._pong is not None:
            frame.append(Pong(self._pong))
            self._pong = None

    def _backlog(self) -> int:
        """Return how many messages wait that the peer may have made us queue; roles extend it."""
        return self._out.count

    @abstractmethod
    def _released(self) -> None:
        """Let go of what only this link could have completed."""

    # What the roles use

    def _take(self, message: AnyMessage | UnknownKind) -> None:
        if self._state is _UP:
            self._read(message)
        elif self._state is LinkState.OPENING:
            self._read_first(message)
        # else the message before, or its handler, has ended the link

    def _push(self, message: Message, size: int = SMALL) -> None:
        self._out.push(message, size)
        if not self._awake:
            self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._wire.wake()

    def _read_either(self, message: AnyMessage | UnknownKind) -> None:
        """Take a message that both roles may send."""
        match message:
            case Ping():
                self._pong = message.n
                self._wake()
            case Pong():
                self._heartbeat.ponged(message.n, self._now_s)
            case Goodbye():
                self._leave(message.code, message.message)
            case UnknownKind():
                self._answer_unknown(message.kind)
            case _:
                pass  # Unsupported: whatever we sent was optional, since the version was agreed on

    def _answer_unknown(self, kind: int) -> None:
        if kind in self._unknown:
            return
        self._unknown.add(kind)
        if len(self._unknown) > MAX_UNKNOWN_KINDS:
            self._fail(f"more than {MAX_UNKNOWN_KINDS} kinds of messages are unknown")
        else:
            self._push(Unsupported(kind))

    def _fail(self, problem: str, code: str = "protocol_error") -> None:
        """End the link because a rule was broken, and say so."""
        problem = problem[:MAX_PROBLEM]  # it may quote the peer
        self._out.clear()
        self._part(Goodbye(code, problem))
        self._listener.broken(code, problem)

    def _leave(self, code: str, message: str) -> None:
        """End the link because the peer said Goodbye."""
        code, message = code[:MAX_PROBLEM], message[:MAX_PROBLEM]
        self._out.clear()
        self._end()
        self._listener.broken(code, message)
        self._wire.close(code, message)

    def _part(self, goodbye: Goodbye) -> None:
        """Send a Goodbye as the last message and have the socket closed."""
        self._out.drop_bodies()
        self._push(goodbye)
        self._end()
        self._wire.close(goodbye.code, goodbye.message)

    def _end(self) -> None:
        if self._state is not LinkState.CLOSED:
            self._state = LinkState.CLOSED
            self._released()
