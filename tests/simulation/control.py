"""The balancer of the simulation: the real engine, fleet, dialers and links, in one process.

Two doors of the real code are replaced while a world runs, because they open sockets: `open_socket`
in `balancer.fleet.link`, and the HTTP session that looks at `/health`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from balancer.fleet import fleet as fleet_module
from balancer.fleet import link as link_module
from balancer.fleet.dialer import DialSettings
from balancer.fleet.fleet import Fleet
from balancer.fleet.roster import Entry, RosterFile
from balancer.store.sealing import Sealer
from shared.ids import SequentialIds, WorkerId
from shared.log import Log, TaskLog
from shared.log_ring import LogRing
from tests.simulation.faulty_store import FaultyStore
from tests.simulation.virtual_time import Process, ProcessLoop
from tests.simulation.watched_engine import WatchedEngine

if TYPE_CHECKING:
    from collections.abc import Generator

    import aiohttp

    from balancer.core.settings import Settings
    from shared.edge.link_socket import Receiver
    from tests.simulation.faulty_store import Disk
    from tests.simulation.hosts import Host
    from tests.simulation.network import Network, Socket
    from tests.simulation.virtual_time import VirtualTime
    from tests.simulation.witness import Witness

BALANCER_ID = "balancer:4000"
RESTART_S = 1.0  # until its supervisor starts it anew
GRACE_S = 2.0  # what a balancer that stops leaves its calls
DRAIN_POLL_S = 0.05
SEALER = Sealer("key of the simulation")  # deriving a key takes longer than a task


class SimRoster(RosterFile):
    """workers.json without a file: the world lists workers in it.

    Attributes:
        changed: it was edited since the last look.
    """

    def __init__(self) -> None:
        super().__init__(Path("workers.json"), {})
        self.changed = True

    def look(self) -> bool:
        """Tell whether it was edited."""
        changed, self.changed = self.changed, False
        return changed

    def has(self, address: str) -> bool:
        """Tell whether a worker is listed."""
        return any(entry.id == address for entry in self.entries)

    def add(self, address: str, weight: float = 1.0) -> None:
        """List a worker."""
        entry = Entry(url=f"http://{address}", id=WorkerId(address), weight=weight)
        self.entries = [*self.entries, entry]
        self.changed = True

    def remove(self, address: str) -> None:
        """List a worker no more."""
        self.entries = [entry for entry in self.entries if entry.id != address]
        self.changed = True


class StrictLog(Log):
    """The fleet's log: a bug of ours that the fleet survives ends the simulation all the same."""

    def __init__(self, process: Process, witness: Witness) -> None:
        super().__init__("fleet")
        self._process = process
        self._witness = witness

    def event(self, action: str, /, **fields: object) -> None:
        """Write nothing."""

    def exception(self, text: str, error: BaseException | None = None, /, **fields: object) -> None:
        """Take a bug."""
        if self._process.alive:
            self._witness.broken(f"{text}: {error!r}")


class HealthReply:
    """The answer to `GET /health`; the body comes at once, then the end."""

    status = 200

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.content = self

    async def read(self, size: int) -> bytes:
        """Return the body once, then b""."""
        del size
        body, self._body = self._body, b""
        return body


class _Get:
    """`async with session.get(…) as reply`."""

    def __init__(self, network: Network, address: str, timeout_s: float) -> None:
        self._network = network
        self._address = address
        self._timeout_s = timeout_s

    async def __aenter__(self) -> HealthReply:
        process = process_here()
        return HealthReply(await self._network.health(self._address, process, self._timeout_s))

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""


class SimSession:
    """The HTTP session of the fleet, for looks only: every worker here has a link."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def get(
        self,
        url: str,
        *,
        headers: dict[str, str],
        timeout: aiohttp.ClientTimeout,
        allow_redirects: bool,
    ) -> _Get:
        """Look at `/health`."""
        del headers, allow_redirects
        return _Get(self._network, urlsplit(url).netloc, timeout.total or 0.0)

    async def close(self) -> None:
        """Do nothing."""


def process_here() -> Process:
    """Return the process in which this runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ProcessLoop)
    return loop.process


@contextmanager
def rewired(network: Network) -> Generator[None]:
    """Let the balancer's shells use the network of a world instead of sockets."""

    async def connect(url: str, authorization: str, receiver: Receiver, timeout_s: float) -> Socket:
        del authorization
        return await network.connect(urlsplit(url).netloc, process_here(), receiver, timeout_s)

    def session(connect_timeout_s: float) -> SimSession:
        del connect_timeout_s
        return SimSession(network)

    doors = ((link_module, "open_socket", connect), (fleet_module, "worker_session", session))
    before = [(module, name, cast("object", getattr(module, name))) for module, name, _ in doors]
    for module, name, door in doors:
        setattr(module, name, door)
    try:
        yield
    finally:
        for module, name, door in before:
            setattr(module, name, door)


class Control:
    """The balancer: one process after another over the same disk and the same workers.json.

    Attributes:
        process: the process that lives or lived last.
        engine, fleet: of that process.
        ready: it has taken over what the disk had; before that nobody can reach it.
    """

    process: Process
    engine: WatchedEngine
    fleet: Fleet

    def __init__(
        self, *, witness: Witness, hosts: dict[WorkerId, Host], network: Network, time: VirtualTime,
        disk: Disk, roster: SimRoster, settings: Settings, dialling: DialSettings, seed: str,
        task_timeout_s: float,
    ) -> None:  # fmt: skip
        self.boots = 0
        self.ready = False
        self.settings = settings
        self.roster = roster
        self._witness = witness
        self._hosts = hosts
        self._network = network
        self._time = time
        self._disk = disk
        self._dialling = dialling
        self._seed = seed
        self._task_timeout_s = task_timeout_s

    @property
    def up(self) -> bool:
        """Tell whether callers can reach it."""
        return self.boots > 0 and self.process.alive and self.ready

    def start(self) -> None:
        """Start a process."""
        self.boots += 1
        self.ready = False
        self.roster.changed = True
        self.process = Process(f"balancer#{self.boots}", self._time, self._witness.broken)
        self._witness.balancer_starts()
        self.process.run(self._build)

    def kill(self, *, silent_s: float) -> None:
        """End the process at once; what was not committed is lost."""
        self._witness.trace.note("balancer dies", self.boots)
        self.process.kill()
        self._store.killed()
        self._network.died(self.process, silent_s=silent_s)
        self.ready = False
        self._witness.balancer_dies()

    def stop(self) -> None:
        """Start the process anew in good order, as `balancer.app` ends on SIGTERM."""
        self._witness.trace.note("balancer stops", self.boots)
        process = self.process

        def stop() -> None:
            stopping = process.loop.create_task(self._drain())
            stopping.add_done_callback(lambda _: self._time.after(0.0, gone))

        def gone() -> None:
            if process.alive:
                self.kill(silent_s=0.0)
                self._time.after(RESTART_S, lambda: self.process.alive or self.start())

        process.soon(stop)

    def maintain(self, address: str, on: bool) -> None:
        """Order a worker into maintenance or back, as an operator does."""

        def order() -> None:
            self.process.loop.create_task(self.fleet.maintain(WorkerId(address), on))

        self.process.soon(order)

    # Inside the process

    def _build(self) -> None:
        chance = Random(f"{self._seed}/balancer/{self.boots}")
        boot = self.process.name
        self._store = FaultyStore(self._disk, self.process)
        self.engine = WatchedEngine(
            self.settings, clock=self._time, ids=SequentialIds(boot), chance=chance,
            store=self._store, sealer=SEALER, log=TaskLog(LogRing(self._time, max_lines=1, level="error")),
            task_timeout_s=self._task_timeout_s,
        )  # fmt: skip
        self.engine.watch(self._witness, self._hosts)
        settings = DialSettings(
            balancer_id=BALANCER_ID, boot_id=boot, lb_key="", auth_key="",
            interval_s=self._dialling.interval_s, timeout_s=self._dialling.timeout_s,
            heartbeat_interval_s=self._dialling.heartbeat_interval_s,
            heartbeat_timeout_s=self._dialling.heartbeat_timeout_s,
            resume_window_s=self._dialling.resume_window_s,
        )  # fmt: skip
        self.fleet = Fleet(
            self.roster, self.engine, self._store.orders, self._time, chance, settings,
            StrictLog(self.process, self._witness),
        )  # fmt: skip
        self.process.loop.create_task(self._run())

    async def _run(self) -> None:
        """Take over, then serve; in the order of `balancer.app`."""
        await self.engine.recover()
        self.ready = True
        self._loops = [
            asyncio.ensure_future(each) for each in (self.engine.run(), self.fleet.run())
        ]
        for loop in self._loops:
            loop.add_done_callback(self._fell)

    async def _drain(self) -> None:
        """Take nothing new, wait a while for calls, part, commit."""
        self.engine.stop_taking()
        left_s = GRACE_S
        while not self.engine.idle and left_s > 0:
            await asyncio.sleep(DRAIN_POLL_S)
            left_s -= DRAIN_POLL_S
        await self.fleet.part()
        for loop in self._loops:
            loop.remove_done_callback(self._fell)
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.engine.close()

    def _fell(self, loop: asyncio.Task[None]) -> None:
        error = None if loop.cancelled() else loop.exception()
        if self.process.alive:
            self._witness.broken(f"a loop of the balancer ended: {error!r}")
