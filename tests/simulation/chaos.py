"""What goes wrong in a world, drawn from its seed: a plan of faults that are all healed at the end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.hosts import Host
    from tests.simulation.world import World

ORDER_S = 5.0  # what a balancer that starts takes to know its workers
DIRECT_S = 0.07  # between two direct tasks of a burst
LONG_FREEZE_S = 40.0  # past the longest stall window


class Chaos:
    """Does things to a world.

    Args:
        world: the world.
        chance: draws what, when and to whom.
        span_s: nothing new goes wrong after so many seconds.
        rate: faults a second.
    """

    def __init__(self, world: World, chance: Random, span_s: float, rate: float) -> None:
        self._world = world
        self._chance = chance
        self._over = False
        self._faults: tuple[Callable[[Host], None], ...] = (
            self._crash, self._stop, self._freeze, self._cut, self._cut, self._linger, self._partition,
            self._duplicate, self._drain, self._leave, self._lose_service, self._direct,
        )  # fmt: skip
        for _ in range(round(span_s * rate)):
            world.time.after(chance.uniform(0.0, span_s), self._one)
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            world.time.after(chance.uniform(0.0, span_s), self._to_balancer)
        for _ in range(chance.choice((0, 1, 2))):
            world.time.after(chance.uniform(0.0, span_s), self._to_disk)

    def heal(self) -> None:
        """End every fault; nothing goes wrong any more."""
        self._over = True
        world = self._world
        world.witness.trace.note("heal")
        world.disk.out = False
        world.disk.failure_rate = 0.0
        if not world.control.process.alive:
            world.control.start()
        world.control.process.thaw()
        for host in world.hosts.values():
            if host.up and host.old:
                host.kill(silent_s=0.0)
            host.old = False
            if not host.up:
                host.start()
            host.disturbed()
            host.process.thaw()
            world.network.heal(host.address)
            self._in_host(host, lambda host=host: host.engine.set_services_down(False))
            if not world.roster.has(host.address):
                world.roster.add(host.address)
        world.time.after(ORDER_S, self._end_maintenance)

    def _end_maintenance(self) -> None:
        """Order every worker back; by now the balancer knows them all again."""
        for host in self._world.hosts.values():
            host.disturbed()
            self._world.control.maintain(host.address, on=False)
            self._in_host(host, lambda host=host: host.engine.set_maintenance(False))

    # One fault each

    def _one(self) -> None:
        if self._over:
            return
        host = self._chance.choice(list(self._world.hosts.values()))
        fault = self._chance.choice(self._faults)
        self._world.witness.trace.note(fault.__name__.strip("_"), host.address)
        fault(host)

    def _crash(self, host: Host) -> None:
        if not host.up:
            return
        host.kill(silent_s=self._chance.choice((0.0, 0.0, self._chance.uniform(0.1, 6.0))))
        if self._chance.random() < 0.3:
            host.old = not host.old  # an upgrade, or one that is taken back
        self._later(self._chance.choice((0.05, 1.0, 4.0, 15.0)), lambda: self._restart(host))

    def _stop(self, host: Host) -> None:
        if host.up:
            host.stop()

    def _restart(self, host: Host) -> None:
        if not host.up:
            host.start()

    def _freeze(self, host: Host) -> None:
        if not host.up or host.process.frozen:
            return
        process = host.process
        host.disturbed()
        process.freeze()
        freeze_s = self._chance.choice((0.3, 1.5, 5.0, 9.0, 9.0, LONG_FREEZE_S))

        def thaw() -> None:
            host.disturbed()
            process.thaw()

        self._later(freeze_s, thaw)

    def _cut(self, host: Host) -> None:
        host.disturbed()
        for connection in self._world.network.of(host.address):
            ends = (self._chance.choice((0.0, 0.001, self._chance.uniform(0.0, 5.0))) for _ in "ab")
            connection.cut(*ends, late=self._chance.random() < 0.5)

    def _linger(self, host: Host) -> None:
        """Delay what is sent to a worker until after the balancer has opened another link.

        So does TCP: a packet that is sent again comes late, and a new connection is not held up.
        """
        host.disturbed()
        for connection in self._world.network.of(host.address):
            opened_s = self._chance.uniform(0.05, 1.0)
            connection.up.held = True
            late_s = opened_s + self._chance.uniform(0.2, 2.0)
            connection.cut(opened_s, late_s + 0.1, late=True)
            self._world.time.after(late_s, connection.up.release)

    def _partition(self, host: Host) -> None:
        network = self._world.network
        host.disturbed()
        up, down = self._chance.choice(((True, True), (True, False), (False, True)))
        network.partition(host.address, up=up, down=down)
        held_s = self._chance.choice((0.2, 1.0, 3.0, 8.0, 12.0))
        # Without a packet for long, one end may give the connection up before the network is back.
        if self._chance.random() < 0.4:
            for connection in network.of(host.address):
                early_s, late_s = self._chance.uniform(0.0, held_s), held_s + 0.5
                ends = (early_s, late_s) if self._chance.random() < 0.7 else (late_s, early_s)
                connection.cut(*ends, late=True)

        def heal() -> None:
            host.disturbed()
            network.heal(host.address)

        self._later(held_s, heal)

    def _duplicate(self, host: Host) -> None:
        host.disturbed()
        for connection in self._world.network.of(host.address):
            pipe = self._chance.choice((connection.up, connection.down))
            pipe.duplicating = True

    def _drain(self, host: Host) -> None:
        control = self._world.control
        host.disturbed()
        if self._chance.random() < 0.5 and control.up:
            control.maintain(host.address, on=True)
        else:
            self._in_host(host, lambda: host.engine.set_maintenance(True))

        def back() -> None:
            host.disturbed()
            if control.up:
                control.maintain(host.address, on=False)
            self._in_host(host, lambda: host.engine.set_maintenance(False))

        self._later(self._chance.uniform(0.5, 8.0), back)

    def _leave(self, host: Host) -> None:
        roster = self._world.roster
        if not roster.has(host.address) or len(roster.entries) < 2:
            return
        roster.remove(host.address)
        host.disturbed()
        self._later(self._chance.uniform(0.5, 15.0), lambda: self._join(host))

    def _join(self, host: Host) -> None:
        if not self._world.roster.has(host.address):
            host.disturbed()
            self._world.roster.add(host.address, self._chance.choice((0.5, 1.0, 2.0)))

    def _lose_service(self, host: Host) -> None:
        if not host.up:
            return
        self._in_host(host, lambda: host.engine.set_services_down(True))
        back_s = self._chance.uniform(0.2, 4.0)
        process = host.process

        def back() -> None:
            if host.process is process:
                self._in_host(host, lambda: host.engine.set_services_down(False))

        self._later(back_s, back)

    def _direct(self, host: Host) -> None:
        if host.direct:
            for number in range(self._chance.randint(1, 20)):
                run_s, priority = self._chance.uniform(0.1, 2.0), self._chance.randint(1, 3)
                self._later(
                    number * DIRECT_S,
                    lambda run_s=run_s, priority=priority: host.submit_directly(run_s, priority),
                )

    def _to_balancer(self) -> None:
        control = self._world.control
        if self._over or not control.process.alive:
            return
        act = self._chance.random()
        if act < 0.5:
            self._kill_balancer()
            return
        if act < 0.7:
            control.stop()
            return
        process = control.process
        self._world.witness.trace.note("balancer freezes")
        process.freeze()
        self._later(self._chance.choice((0.2, 1.2, 4.0, 12.0)), process.thaw)

    def _kill_balancer(self) -> None:
        control = self._world.control
        if control.process.alive:
            control.kill(silent_s=self._chance.choice((0.0, 0.0, self._chance.uniform(0.1, 4.0))))
            down_s = self._chance.choice((0.01, 0.5, 1.5, 3.5))
            self._later(down_s, lambda: control.process.alive or control.start())

    def _to_disk(self) -> None:
        if self._over:
            return
        disk = self._world.disk
        self._world.witness.trace.note("the disk fails")
        disk.out = True
        out_s = self._chance.uniform(0.1, 4.0)

        def back() -> None:
            disk.out = False

        self._later(out_s, back)
        if self._chance.random() < 0.4:
            self._later(self._chance.uniform(0.0, out_s), self._kill_balancer)

    # How

    def _later(self, delay_s: float, undo: Callable[[], object]) -> None:
        self._world.time.after(delay_s, lambda: self._over or undo())

    def _in_host(self, host: Host, happen: Callable[[], None]) -> None:
        if host.up:
            process = host.process
            process.soon(lambda: happen() if host.process is process else None)
