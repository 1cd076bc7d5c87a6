"""The network of the simulation: connections that delay, hold, cut, duplicate and half-close.

A connection is two ordered pipes, as TCP makes them: what arrives, arrives in order, or not at all
because the connection broke. `Socket` looks like the real one to the shells of the product, which run
on it unchanged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shared.protocol.messages import Chunk, Credit

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.edge.link_socket import Receiver
    from tests.simulation.virtual_time import Process, VirtualTime

MIN_LATENCY_S = 0.0002
MAX_LATENCIES_S = (0.003, 0.003, 0.06)  # of one room, or of a wide network
SEND_WINDOW = 512 * 1024  # bytes on their way after which a sender waits, as a full socket buffer
COUNTING = (Credit.__struct_config__.tag, Chunk.__struct_config__.tag)


class End(NamedTuple):
    """The end of a pipe.

    Attributes:
        clean: it was closed in good order, not reset.
    """

    clean: bool


class Inbox:
    """What has arrived at one end and is not read yet; the kernel's buffer."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._items: deque[bytes | End] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False

    def put(self, item: bytes | End) -> None:
        """Take what arrives; nothing after the end."""
        if self.ended or not self._process.alive:
            return
        if isinstance(item, End):
            self.ended = True
            if not item.clean:
                self._items.clear()  # a reset throws away what was not read
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> bytes | End:
        """Wait for the next item; the end comes for ever."""
        while not self._items:
            self._waiter = self._process.loop.create_future()
            await self._waiter
        item = self._items[0]
        if not isinstance(item, End):
            self._items.popleft()
        return item


class Pipe:
    """One direction of a connection.

    Attributes:
        held: nothing arrives until `release`; what was sent is kept.
        duplicating: the next frame arrives twice.
    """

    def __init__(self, network: Network, inbox: Inbox) -> None:
        self._network = network
        self._inbox = inbox
        self._queue: deque[tuple[float, bytes | End]] = deque()
        self._last_s = 0.0
        self._size = 0
        self._room: asyncio.Future[None] | None = None
        self._broken = False
        self.held = False
        self.duplicating = False

    def push(self, item: bytes | End) -> None:
        """Send; it arrives after what was sent before."""
        if self._broken:
            return
        time = self._network.time
        self._last_s = max(self._last_s, time.now_s + self._network.latency_s())
        self._queue.append((self._last_s, item))
        self._size += _size(item)
        time.at(self._last_s, self._arrive)

    async def room(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait while too much is on its way."""
        while self.crowded:
            self._room = loop.create_future()
            await self._room

    @property
    def crowded(self) -> bool:
        """Tell whether a sender has to wait."""
        return self._size > SEND_WINDOW and not self._broken

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is on its way."""
        return not self._queue

    @property
    def whole(self) -> bool:
        """Tell whether what is sent now will arrive soon."""
        return not self._broken and not self.held

    def release(self) -> None:
        """Let arrive what was held."""
        self.held = False
        self._network.time.after(0.0, self._arrive)

    def lose(self) -> None:
        """Lose what is on its way, and all that is sent from now on."""
        self._broken = True
        self._queue.clear()
        self._make_room()

    def stop(self) -> None:
        """Take nothing more; what is on its way still arrives."""
        self._broken = True
        self._make_room()

    def reset(self) -> None:
        """Let the reader see the connection break."""
        self.lose()
        self._inbox.put(End(clean=False))

    def _arrive(self) -> None:
        while self._queue and not self.held and self._queue[0][0] <= self._network.time.now_s:
            _, item = self._queue.popleft()
            self._size -= _size(item)
            self._inbox.put(item)
            if self.duplicating and isinstance(item, bytes) and not _counts(item):
                self.duplicating = False
                self._inbox.put(item)
        if self._size <= SEND_WINDOW:
            self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


def _counts(frame: bytes) -> bool:
    """Tell whether a frame counts bytes of a stream: twice is too many, and TCP never sends it twice."""
    messages: list[list[object]] = msgspec.msgpack.decode(frame)
    return any(message[0] in COUNTING for message in messages)


def _size(item: bytes | End) -> int:
    return len(item) if isinstance(item, bytes) else 0


class Connection:
    """A connection between a dialling process and the one that listens at an address."""

    def __init__(self, network: Network, address: str, client: Process, server: Process) -> None:
        self.address = address
        self.client = client
        self.server = server
        self._network = network
        self.client_inbox, self.server_inbox = Inbox(client), Inbox(server)
        self.up = Pipe(network, self.server_inbox)
        self.down = Pipe(network, self.client_inbox)

    @property
    def over(self) -> bool:
        """Tell whether no end is left that believes in it."""
        client_left = self.client.alive and not self.client_inbox.ended
        return not client_left and (self.server_inbox.ended or not self.server.alive)

    @property
    def whole(self) -> bool:
        """Tell whether it is open and what is sent either way will arrive soon."""
        ended = self.client_inbox.ended or self.server_inbox.ended
        return not ended and self.up.whole and self.down.whole

    @property
    def quiet(self) -> bool:
        """Tell whether it is whole and nothing is on its way."""
        return self.whole and self.up.quiet and self.down.quiet

    def cut(self, client_s: float, server_s: float, *, late: bool) -> None:
        """Break it; the two ends notice it at different times.

        Args:
            client_s, server_s: seconds until each end sees the reset.
            late: what is sent to the end that notices last, until the other does, still arrives.
        """
        after = self._network.time.after
        first, last = (self.down, self.up) if client_s <= server_s else (self.up, self.down)
        first.lose()
        if late:
            after(min(client_s, server_s), last.stop)
        else:
            last.lose()
        after(client_s, self.down.reset)
        after(server_s, self.up.reset)

    def abandon(self, process: Process, *, silent_s: float) -> None:
        """Break it because a process died; what it had sent arrives unless its host died, too.

        Args:
            process: the one that died.
            silent_s: seconds until the other end notices when its host died; 0 when the kernel says so.
        """
        pipe, other = (self.down, self.up) if process is self.server else (self.up, self.down)
        other.lose()
        if silent_s:
            pipe.lose()
            self._network.time.after(silent_s, pipe.reset)
        else:
            pipe.push(End(clean=False))
            pipe.stop()


class Socket:
    """One end of a connection, as `shared.edge.link_socket.LinkSocket`.

    Args:
        inbox: what arrives here.
        pipe: what is sent from here.
        process: whose end it is.
        receiver: is told what comes.

    Attributes:
        full: the sender has to wait.
    """

    def __init__(self, inbox: Inbox, pipe: Pipe, process: Process, receiver: Receiver) -> None:
        self.full = False
        self._inbox = inbox
        self._pipe = pipe
        self._loop = process.loop
        self._receiver = receiver
        self._reading = self._loop.create_task(self._read())

    def send(self, frame: bytes) -> None:
        """Send a frame; after the end it goes nowhere."""
        if self._inbox.ended:
            return
        self._pipe.push(frame)
        if self._pipe.crowded and not self.full:
            self.full = True
            self._loop.create_task(self._wait())

    async def close(self) -> None:
        """Close in good order."""
        self._reading.cancel()
        if not self._inbox.ended:
            self._pipe.push(End(clean=True))
            self._inbox.put(End(clean=True))

    async def _read(self) -> None:
        while isinstance(item := await self._inbox.get(), bytes):
            self._receiver.received(item)
        self._receiver.lost()

    async def _wait(self) -> None:
        await self._pipe.room(self._loop)
        self.full = False
        self._receiver.writable()


class Listener(NamedTuple):
    """Who listens at an address.

    Attributes:
        process: the process.
        accept: takes a connection.
        health: answers `GET /health`.
    """

    process: Process
    accept: Callable[[Connection], None]
    health: Callable[[], bytes]


class Network:
    """Who listens where, and every open connection.

    Args:
        time: the world's.
        chance: draws latencies.
    """

    def __init__(self, time: VirtualTime, chance: Random) -> None:
        self.time = time
        self.connections: list[Connection] = []
        self._chance = chance
        self._max_latency_s = chance.choice(MAX_LATENCIES_S)
        self._listeners: dict[str, Listener] = {}
        self._dark: set[str] = set()  # addresses that cannot be reached

    def latency_s(self) -> float:
        """Return how long the next frame is on its way."""
        return self._chance.uniform(MIN_LATENCY_S, self._max_latency_s)

    def listen(self, address: str, listener: Listener) -> None:
        """Let a process listen at an address."""
        self._listeners[address] = listener

    def of(self, address: str) -> list[Connection]:
        """Return the connections of an address that are not over."""
        self.connections = [each for each in self.connections if not each.over]
        return [each for each in self.connections if each.address == address]

    def partition(self, address: str, *, up: bool = True, down: bool = True) -> None:
        """Hold what goes to an address, what comes from it, or both."""
        self._dark.add(address)
        for connection in self.of(address):
            connection.up.held = connection.up.held or up
            connection.down.held = connection.down.held or down

    def heal(self, address: str) -> None:
        """Let everything through again."""
        self._dark.discard(address)
        for connection in self.of(address):
            connection.up.release()
            connection.down.release()

    def dark(self, address: str) -> bool:
        """Tell whether an address cannot be reached."""
        return address in self._dark

    def died(self, process: Process, *, silent_s: float) -> None:
        """Break every connection of a process that was killed."""
        for connection in self.connections:
            if process in (connection.client, connection.server) and not connection.over:
                connection.abandon(process, silent_s=silent_s)

    # What the dialling process calls

    async def connect(
        self, address: str, client: Process, receiver: Receiver, timeout_s: float
    ) -> Socket:
        """Open a connection.

        Raises:
            OSError: nobody listens there.
            TimeoutError: nobody answers.
        """
        listener = await self._reach(address, timeout_s)
        connection = Connection(self, address, client, listener.process)
        if self.dark(address):
            connection.up.held = connection.down.held = True
        self.connections.append(connection)
        opened: asyncio.Future[None] = client.loop.create_future()

        def accept() -> None:
            listener.accept(connection)
            self.time.after(self.latency_s(), lambda: opened.done() or opened.set_result(None))

        self.time.after(self.latency_s(), lambda: listener.process.soon(accept))
        try:
            async with asyncio.timeout(timeout_s):
                await opened
        except TimeoutError:
            connection.cut(0.0, self.latency_s(), late=False)
            raise
        return Socket(connection.client_inbox, connection.up, client, receiver)

    async def health(self, address: str, client: Process, timeout_s: float) -> bytes:
        """Get `/health` of an address.

        Raises:
            OSError: nobody listens there.
            TimeoutError: nobody answers.
        """
        listener = await self._reach(address, timeout_s)
        answered: asyncio.Future[bytes] = client.loop.create_future()

        def answer() -> None:
            body = listener.health()
            self.time.after(self.latency_s(), lambda: answered.done() or answered.set_result(body))

        self.time.after(self.latency_s(), lambda: listener.process.soon(answer))
        async with asyncio.timeout(timeout_s):
            return await answered

    async def _reach(self, address: str, timeout_s: float) -> Listener:
        await asyncio.sleep(self.latency_s())
        if self.dark(address):
            await asyncio.sleep(timeout_s)
            raise TimeoutError
        listener = self._listeners.get(address)
        if listener is None or not listener.process.alive:
            raise ConnectionRefusedError(f"nobody listens at {address}")
        return listener
