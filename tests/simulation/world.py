"""A world: a fleet of real processes in virtual time, callers, faults, and a witness that sees it all.

One seed makes one world, and the same one every time. It runs until its faults are healed and all it
was given has drained; a guarantee that is broken on the way ends it with a `Broken`, which names the
seed and the last steps.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING

import structlog

from balancer.core.settings import Settings
from balancer.fleet.dialer import DialSettings
from balancer.store.memory import Shelves
from shared.ids import WorkerId
from tests.simulation import invariants
from tests.simulation.callers import Caller
from tests.simulation.cases import Violation
from tests.simulation.chaos import Chaos
from tests.simulation.control import Control, SimRoster, rewired
from tests.simulation.faulty_store import Disk
from tests.simulation.hosts import RESTART_S, Host
from tests.simulation.network import Network
from tests.simulation.virtual_time import VirtualTime
from tests.simulation.witness import Witness
from tests.simulation.workload import SOFT_LIMIT_S, orders

if TYPE_CHECKING:
    from collections.abc import Generator

    from shared.ids import PoolKey
    from tests.simulation.cases import Order
    from tests.simulation.virtual_time import Process

SWEEP_STEPS = 500
CRITICAL = 50  # the level of the log that nothing of ours uses
SWEEP_DELAY_S = 1e-7  # between two moments, when nobody is in the middle of anything
LOOK_S = 0.5
POOLS: list[PoolKey] = [("alpha", 1), ("beta", 1), ("alpha", 1), ("alpha", 2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large a world is.

    Attributes:
        workers: workers at the start.
        tasks: tasks of callers.
        span_s: virtual seconds in which they come and things go wrong.
        faults: faults a second among the workers.
        drain_s: virtual seconds after the healing in which everything must have ended.
    """

    workers: int = 10
    tasks: int = 300
    span_s: float = 30.0
    faults: float = 1.0
    drain_s: float = 240.0


SMALL = Sizes(workers=3, tasks=60, span_s=10.0)
USUAL = Sizes()
LARGE = Sizes(workers=100, tasks=10_000, span_s=60.0, faults=6.0, drain_s=600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a world was.

    Attributes:
        seed: its seed.
        digest: of its trace.
        steps: events that happened.
        seconds: virtual seconds that it took.
        happened: how often what the scheduler can do was done.
    """

    seed: int
    digest: str
    steps: int
    seconds: float
    happened: dict[str, int]


class Broken(AssertionError):
    """A world in which a guarantee was broken.

    Attributes:
        seed, sizes: make the same world again.
    """

    def __init__(self, seed: int, sizes: Sizes, problem: str, last: list[str]) -> None:
        steps = "\n".join(f"  {line}" for line in last)
        super().__init__(f"seed {seed}, {asdict(sizes)}: {problem}\nlast steps:\n{steps}")
        self.seed = seed
        self.sizes = sizes
        self.problem = problem


class World:
    """Everything that there is.

    Args:
        seed: decides all.
        sizes: how large it is.
    """

    def __init__(self, seed: int, sizes: Sizes) -> None:
        self.seed = seed
        self.sizes = sizes
        self.time = VirtualTime()
        self.witness = Witness(self.time)
        chance = Random(f"{seed}/world")
        self.network = Network(self.time, Random(f"{seed}/network"))
        self.disk = Disk(
            Shelves(), Random(f"{seed}/disk"), chance.choice((0.0, 0.0, 0.02)), self.witness
        )
        self.roster = SimRoster()
        self.hosts: dict[WorkerId, Host] = {}
        heartbeat_s = chance.choice((1.0, 3.0))
        for number in range(sizes.workers):
            self._add_host(number, chance, heartbeat_s)
        settings = Settings(
            max_queue=max(sizes.tasks // 20, 5), stall_window_s=chance.choice((5.0, 30.0)),
            resume_window_s=chance.choice((1.0, 2.0)), no_worker_wait_s=chance.choice((3.0, 10.0)),
        )  # fmt: skip
        dialling = DialSettings(
            balancer_id="", boot_id="", lb_key="", auth_key="", heartbeat_interval_s=heartbeat_s,
            heartbeat_timeout_s=heartbeat_s, resume_window_s=settings.resume_window_s,
        )  # fmt: skip
        self.control = Control(
            witness=self.witness, hosts=self.hosts, network=self.network, time=self.time,
            disk=self.disk, roster=self.roster, settings=settings, dialling=dialling, seed=str(seed),
            task_timeout_s=SOFT_LIMIT_S,
        )  # fmt: skip
        self._done = False
        self.witness.on_poison = self._poisoned
        for order in orders(Random(f"{seed}/callers"), sizes.tasks, POOLS, sizes.span_s):
            self.time.after(order.at_s, lambda order=order: self._ask(order))

    def run(self) -> Report:
        """Let it run until everything has drained.

        Raises:
            Broken: a guarantee is broken.
        """
        # Finalizers run when the collector likes, and what they schedule would be another trace.
        collects = gc.isenabled()
        gc.disable()
        try:
            with silence(), rewired(self.network):
                try:
                    self._run()
                finally:
                    self._end()
        except Exception as problem:  # a bug that nobody in the world caught is none the less one
            text = self.witness.problem or repr(problem)
            raise Broken(self.seed, self.sizes, text, self.witness.trace.last()) from problem
        finally:
            if collects:
                gc.enable()
        return Report(
            seed=self.seed, digest=self.witness.trace.digest, steps=self.time.steps,
            seconds=self.time.now_s - self.time.start_s, happened=dict(self.witness.happened),
        )  # fmt: skip

    # Private

    def _add_host(self, number: int, chance: Random, heartbeat_s: float) -> None:
        address = f"10.0.{number // 250}.{number % 250 + 1}:3000"
        group, contract = POOLS[number % len(POOLS)]
        host = Host(
            address, group, contract, chance.choice((1, 1, 2, 3, 4)), old=chance.random() < 0.1,
            direct=chance.random() < 0.5, heartbeat_s=heartbeat_s, witness=self.witness,
            network=self.network, time=self.time, seed=str(self.seed),
        )  # fmt: skip
        self.hosts[WorkerId(address)] = host
        weight = chance.choice((1.0, 1.0, 2.0, 0.5))
        if chance.random() < 0.8:
            self.roster.add(address, weight)
        else:
            self.time.after(chance.uniform(0.0, 5.0), lambda: self._list(address, weight))
        if chance.random() < 0.8:
            self.time.after(0.0, lambda: host.up or host.start())
        else:
            self.time.after(chance.uniform(0.0, 5.0), lambda: host.up or host.start())

    def _poisoned(self, process: Process) -> None:
        """Let a worker die of its code, and its supervisor start it anew."""
        for host in self.hosts.values():
            if host.up and host.process is process:
                host.kill(silent_s=0.0)
                self.time.after(RESTART_S, lambda host=host: host.up or host.start())
                return

    def _list(self, address: str, weight: float) -> None:
        if not self.roster.has(address):
            self.roster.add(address, weight)

    def _run(self) -> None:
        chance = Random(f"{self.seed}/chaos")
        self.control.start()
        chaos = Chaos(self, chance, self.sizes.span_s, self.sizes.faults)
        self.time.after(self.sizes.span_s + 1.0, chaos.heal)
        self.time.after(self.sizes.span_s + 8.0, self._look)
        while not self._done:
            self._step()
        invariants.sweep(self)
        invariants.kept(self)

    def _step(self) -> None:
        witness = self.witness
        process = self.time.step()
        if witness.problem is None and process is not None:
            if process is self.control.process and self.control.ready:
                invariants.settled(self)
            if witness.acted:
                acted, witness.acted = witness.acted, {}
                for host in [
                    host for host in self.hosts.values() if host.up and host.process in acted
                ]:
                    invariants.slots(self, host)
            if self.time.steps % SWEEP_STEPS == 0:
                self.time.after(SWEEP_DELAY_S, lambda: invariants.sweep(self))
        if witness.problem is not None:
            raise Violation(witness.problem)

    def _ask(self, order: Order) -> None:
        case = self.witness.ordered(order)
        if self.control.up:
            self.control.process.soon(Caller(case, self.control, self.witness).ask)
        else:
            self.witness.turned_away(case, "unreachable")

    def _look(self) -> None:
        left = invariants.drained(self)
        if not left:
            self._done = True
            return
        over_s = self.sizes.span_s + self.sizes.drain_s
        if self.time.now_s - self.time.start_s > over_s:
            self.witness.fail(f"{len(left)} are left after {over_s:.0f} s: {'; '.join(left[:10])}")
        self.time.after(LOOK_S, self._look)

    def _end(self) -> None:
        """Take the processes down, so that nothing of this world is left in the interpreter."""
        for host in self.hosts.values():
            if host.up:
                host.process.kill()
        if self.control.boots:
            self.control.process.kill()


@contextmanager
def silence() -> Generator[None]:
    """Let nobody write log lines: functions that raise on purpose would fill the screen."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
