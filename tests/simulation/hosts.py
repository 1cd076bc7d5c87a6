"""A worker of the simulation: the real engine, runner, peers, session and link shell, in one process."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, cast

from shared.errors import Failure
from shared.ids import SequentialIds, TaskId
from shared.protocol.worker_link import WorkerLink
from shared.task import Mode, Outcome, Piece, TaskRequest
from tests.simulation.functions import StagedProcess, hosted
from tests.simulation.network import Connection, Listener, Socket
from worker.authoring.registry import Registry
from worker.engine import EngineSettings, WorkerEngine
from worker.facts import WorkerFacts
from worker.link import LinkShell
from worker.peers import Identity, Peers
from worker.processes import ProcessPool
from worker.runner import Runner
from worker.session import LinkSession
from worker.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.edge.link_socket import LinkSocket
    from tests.simulation.network import Network
    from tests.simulation.virtual_time import VirtualTime
    from tests.simulation.witness import Witness

MIN_BLOCKED_S, MAX_BLOCKED_S = 0.05, 3.0
RESTART_S = 1.0  # what a worker takes to drain and start anew when all its slots are stuck
LONG_BLOCKED_S = 12.0  # past the function's time limit and the moment at which it counts as stuck


class SimThreads(ThreadPool):
    """Threads in virtual time: a job takes a while and cannot be stopped."""

    def __init__(self, process: StagedProcess, chance: Random) -> None:
        super().__init__()
        self._process = process
        self._chance = chance

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job at the end of its while."""
        blocked_s = self._chance.uniform(MIN_BLOCKED_S, MAX_BLOCKED_S)
        if self._chance.random() < 0.04:
            blocked_s = LONG_BLOCKED_S
        self._process.loop.call_later(blocked_s, job)


class StillSystem:
    """A machine whose load never changes."""

    def read(self) -> dict[str, float]:
        """Return the load."""
        return {"uptime": 1.0, "usedMemoryPercent": 50.0, "cpuLoad": 0.5}


class DirectCaller:
    """The sink of a task that came directly to a worker."""

    def __init__(self, witness: Witness, task_id: str) -> None:
        self._witness = witness
        self._task_id = task_id
        self.outcome: Outcome | None = None

    def piece(self, piece: Piece) -> None:
        """Drop a piece."""

    def finished(self, outcome: Outcome) -> None:
        """Take the end, once."""
        self._witness.check(self.outcome is None, f"{self._task_id} ended twice")
        self._witness.trace.note("direct end", self._task_id, outcome.status.value)
        self.outcome = outcome


class Host:
    """One entry of workers.json and the process behind it, which may crash and start anew.

    Args:
        address: `host:port`.
        group, contract: what it hosts.
        limit: its slots.
        old: it runs the version before, which lacks a function.

    Attributes:
        process: the process that lives or lived last.
        healthy_s: since when nothing has been done to it, its link or its network.
        direct: it gets tasks directly, too.
    """

    process: StagedProcess
    engine: WorkerEngine
    peers: Peers

    def __init__(
        self, address: str, group: str, contract: int, limit: int, *, old: bool, direct: bool,
        heartbeat_s: float, witness: Witness, network: Network, time: VirtualTime, seed: str,
    ) -> None:  # fmt: skip
        self.address = address
        self.group = group
        self.contract = contract
        self.limit = limit
        self.old = old
        self.direct = direct
        self.boots = 0
        self.healthy_s = time.now_s
        self.callers: list[DirectCaller] = []
        self._directly = 0
        self._heartbeat_s = heartbeat_s
        self._witness = witness
        self._network = network
        self._time = time
        self._chance = Random(f"{seed}/{address}")

    @property
    def up(self) -> bool:
        """Tell whether its process lives."""
        return self.boots > 0 and self.process.alive

    def start(self) -> None:
        """Start the process."""
        self.boots += 1
        name = f"{self.address}#{self.boots}"
        self.process = StagedProcess(name, self._time, self._witness.broken)
        self.process.stage = self._witness
        self.callers = []
        self.disturbed()
        self._witness.trace.note("worker starts", name)
        self.process.run(self._build)

    def kill(self, *, silent_s: float) -> None:
        """End the process at once."""
        self._witness.trace.note("worker dies", self.process.name)
        self.disturbed()
        self.process.kill()
        self._network.died(self.process, silent_s=silent_s)

    def stop(self) -> None:
        """Start the process anew in good order, as `worker.app` ends on SIGTERM."""
        self.disturbed()
        self._witness.trace.note("worker stops", self.process.name)
        process = self.process

        def stop() -> None:
            stopping = process.loop.create_task(self._drain())
            stopping.add_done_callback(lambda _: self._time.after(0.0, gone))

        def gone() -> None:
            if process.alive:
                self.kill(silent_s=0.0)
                self._time.after(RESTART_S, lambda: self.up or self.start())

        process.soon(stop)

    async def _drain(self) -> None:
        """Take nothing new, wait a while for what runs, then end it."""
        self.engine.set_maintenance(True)
        await self.engine.drained(self._chance.choice((0.0, 1.0, 5.0)))
        await self.engine.close()

    def disturbed(self) -> None:
        """Note that something was done to it: nothing quick is expected for a while."""
        self.healthy_s = self._time.now_s

    def submit_directly(self, run_s: float, priority: int) -> None:
        """Give it a task directly, without a balancer."""
        if not self.up:
            return
        self._directly += 1
        task_id = TaskId(f"direct-{self.process.name}-{self._directly}")
        caller = DirectCaller(self._witness, task_id)
        fields = json.dumps({"n": 0, "run_s": run_s}).encode()
        request = TaskRequest(function="plain", contract=self.contract, input=fields,
                              mode=Mode.SYNC, priority=priority)  # fmt: skip
        engine = self.engine

        def submit() -> None:
            taken = engine.submit(request, caller, task_id)
            if not isinstance(taken, Failure):
                self.callers.append(caller)

        self.process.soon(submit)

    # Inside the process

    def _build(self) -> None:
        clock, process = self._time, self.process
        processes = ProcessPool(clock, warm=0)
        runner = Runner(clock, processes, SimThreads(process, self._chance))
        self.engine = WorkerEngine(
            EngineSettings(limit=self.limit, max_queue=20), Registry(hosted(old=self.old)), runner,
            clock, SequentialIds(f"{process.name}!"), self._chance,
        )  # fmt: skip
        identity = Identity(
            worker_id=self.address, boot_id=process.name, software="cabrank worker sim",
            group=self.group, contract=self.contract,
        )  # fmt: skip
        self.peers = Peers(self.engine, identity, WorkerFacts(StillSystem()))
        self.engine.on_exhausted(self._exhausted)
        self.engine.start()
        self._network.listen(self.address, Listener(process, self._accept, self._health))

    def _exhausted(self) -> None:
        """Let its supervisor start it anew, as `worker.app` asks for."""
        process = self.process

        def restart() -> None:
            if process.alive:
                self.kill(silent_s=0.0)
                self.start()

        self._time.after(RESTART_S, restart)

    def _accept(self, connection: Connection) -> None:
        process = self.process
        session, shell = LinkSession(self.peers), LinkShell(self._time)
        session.link = WorkerLink(
            session, shell,
            heartbeat_interval_s=self._heartbeat_s, heartbeat_timeout_s=self._heartbeat_s,
        )  # fmt: skip
        socket = Socket(connection.server_inbox, connection.down, process, shell)
        process.loop.create_task(shell.serve(session, cast("LinkSocket", socket)))

    def _health(self) -> bytes:
        slots = self.engine.slots()
        told: dict[str, object] = {
            "status": "maintenance" if slots.maintenance else "ready",
            "group": self.group,
            "contract": self.contract,
            "worker_id": self.address,
            "version": "sim",
            "functions": [spec.wire() for spec in self.engine.specs()],
            "slots": {
                "used": slots.used, "available": slots.available, "limit": slots.limit,
                "queue": slots.queue,
            },
            "link": {"version": 1},
        }  # fmt: skip
        return json.dumps(told).encode()
