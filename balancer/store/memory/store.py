"""A store in memory: a real implementation for tests, simulation and `memory://`.

It keeps the same promises as the others but the one of its name: order of writes, ends that happen
once, pages that do not repeat. A write is applied at once and reported later, through `defer`, as a
commit would be; the simulation's clock drives `defer`, and no thread is involved.
"""

from __future__ import annotations

from balancer.store.memory.dead import MemoryDead
from balancer.store.memory.desk import Defer, Desk
from balancer.store.memory.once import MemoryOnce
from balancer.store.memory.outbox import MemoryOutbox
from balancer.store.memory.shelves import Shelves
from balancer.store.memory.tasks import MemoryTasks
from balancer.store.ports import OrderStore, OutboxStore, TaskStore
from balancer.store.ports_dead import DeadStore
from balancer.store.ports_once import OnceStore


class MemoryOrders:
    """What operators ordered."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def maintenance(self) -> frozenset[str]:
        """Return ids of the workers ordered into maintenance."""
        self._desk.check_reading()
        return frozenset(self._desk.shelves.maintenance)

    async def set_maintenance(self, worker: str, on: bool) -> None:
        """Keep an order."""
        self._desk.check_writing()
        if on:
            self._desk.shelves.maintenance.add(worker)
        else:
            self._desk.shelves.maintenance.discard(worker)


class MemoryStore:
    """An open store in memory.

    Args:
        defer: calls back soon, in order.
        shelves: what an earlier store kept; a restarted balancer of a simulation gets them again.
    """

    tasks: TaskStore
    outbox: OutboxStore
    orders: OrderStore
    once: OnceStore
    dead: DeadStore

    def __init__(self, defer: Defer, shelves: Shelves | None = None) -> None:
        self.shelves = Shelves() if shelves is None else shelves
        self._desk = Desk(self.shelves, defer)
        self.tasks = MemoryTasks(self._desk)
        self.outbox = MemoryOutbox(self._desk)
        self.orders = MemoryOrders(self._desk)
        self.once = MemoryOnce(self._desk)
        self.dead = MemoryDead(self._desk)

    @property
    def healthy(self) -> bool:
        """Tell whether writes go through."""
        return self._desk.outage is None

    def fail(self, reason: str = "Store is unavailable") -> None:
        """Begin an outage: writes fail until `heal`."""
        self._desk.outage = reason

    def heal(self) -> None:
        """End an outage."""
        self._desk.outage = None

    async def close(self) -> None:
        """Refuse what comes after."""
        self._desk.outage, self._desk.closed = "Store is closed", True
