"""The shared store: one namespace of a Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from balancer.store.ports import OrderStore, OutboxStore, TaskStore
from balancer.store.ports_dead import DeadStore
from balancer.store.ports_once import OnceStore
from balancer.store.ports_shared import HEARTBEAT_S, SharedQueue
from balancer.store.redis.address import Address, address_of
from balancer.store.redis.dead import RedisDead
from balancer.store.redis.known_parts import KnownParts
from balancer.store.redis.lease import Lease
from balancer.store.redis.once import RedisOnce
from balancer.store.redis.orders import RedisOrders
from balancer.store.redis.outbox import RedisOutbox
from balancer.store.redis.parts import Keys
from balancer.store.redis.reader import Reader
from balancer.store.redis.schema import MIGRATIONS, Migration, migrate
from balancer.store.redis.shared_queue import RedisSharedQueue
from balancer.store.redis.tasks import RedisTasks
from balancer.store.redis.wire import Wire
from balancer.store.redis.writer import Writer
from shared.errors import ConfigError, Unavailable
from shared.log import Log

if TYPE_CHECKING:
    from shared.clock import Clock

ALONE = "single"  # whose the tasks are of a balancer that shares with nobody, whichever it is

_log = Log("store")


class RedisStore:
    """An open namespace of a Redis; made by `open`.

    Args:
        address: where it is.
        boot: id of this process start.
        clock: the machine's.
        shared: share it with other balancers; `queue` is how.

    Attributes:
        queue: the tasks that balancers share, when they do.
    """

    tasks: TaskStore
    outbox: OutboxStore
    orders: OrderStore
    once: OnceStore
    dead: DeadStore

    def __init__(
        self, address: Address, boot: str, clock: Clock, *, shared: bool, heartbeat_s: float
    ) -> None:
        self._keys = Keys(address.namespace)
        # Apart, so that a lost connection of one is not in the way of the others.
        self._wires = Wire(address), Wire(address), Wire(address)
        writes, reads, guard = self._wires
        key = self._keys.meta("lease")
        holder, owner = ("", boot) if shared else (boot, ALONE)
        self._lease = Lease(guard, key, holder, clock=clock, shown=address.shown)
        self._parts = KnownParts(writes, self._keys)
        self._writer = Writer(
            writes, self._parts, self._lease, name=boot, owner=owner, shown=address.shown
        )
        self._reader = Reader(reads, self._parts)
        self.queue: SharedQueue = RedisSharedQueue(
            guard, self._writer, self._reader, self._parts, owner=owner, heartbeat_s=heartbeat_s
        )
        self.tasks = RedisTasks(self._writer, self._reader, self._parts)
        self.outbox = RedisOutbox(self._writer, self._reader)
        self.once = RedisOnce(self._writer, self._reader)
        self.dead = RedisDead(self._writer, self._reader, self._parts)
        self.orders = RedisOrders(guard, self._keys)

    @classmethod
    async def open(
        cls, url: str, *, boot: str, clock: Clock, migrations: Sequence[Migration] = MIGRATIONS,
        shared: bool = False, heartbeat_s: float = HEARTBEAT_S,
    ) -> RedisStore:  # fmt: skip
        """Take the lease on a namespace, and migrate it.

        Args:
            url: a STORE_URL; `balancer.store.redis.address` says of what form.
            boot: id of this process start; no other ever has it.
            clock: the machine's.
            migrations: what brings older namespaces up to date.
            shared: share it with other balancers that share it.
            heartbeat_s: how often a balancer says that it lives; the same for all of them.

        Raises:
            ConfigError: it is not understood, does not answer, or is another balancer's.
        """
        address = address_of(url)
        store = cls(address, boot, clock, shared=shared, heartbeat_s=heartbeat_s)
        try:
            await store._prepare(address, migrations)
        except Unavailable as exc:
            await store.close()
            raise ConfigError(f"Store {address.shown} cannot be opened: {exc}") from exc
        except BaseException:
            await store.close()
            raise
        return store

    async def _prepare(self, address: Address, migrations: Sequence[Migration]) -> None:
        await self._lease.acquire()
        await migrate(self._wires[2], self._keys, address.shown, migrations)
        await self._parts.refresh()
        await _warn(self._wires[2], address.shown)

    @property
    def healthy(self) -> bool:
        """Tell whether the last commit went through, and whether the next one may be tried."""
        return self._writer.healthy and self._lease.current

    async def close(self) -> None:
        """Commit what is buffered, release the lease, close."""
        await self._writer.close()
        await self._lease.release()
        await self._reader.close()
        for wire in self._wires:
            await wire.close()


async def _warn(wire: Wire, shown: str) -> None:
    """Say so when the server may lose what it was given; not every server lets us ask."""
    for name, good, why in (
        (
            "appendonly",
            "yes",
            "a restart of the server loses what was accepted since its last dump",
        ),
        ("maxmemory-policy", "noeviction", "a full server drops what was accepted"),
    ):
        try:
            answer = await wire.command("CONFIG", "GET", name)
        except Unavailable:
            return
        value = _value(answer)
        if value not in (good, ""):
            _log.warning(f"Redis {shown} has {name}={value}: {why}")


def _value(answer: object) -> str:
    """Return the value of CONFIG GET: it comes in a table, or in a list of names and values."""
    if isinstance(answer, dict):
        answer = list(cast("dict[object, object]", answer).values())
    last = cast("list[object]", answer)[-1] if answer else b""
    return last.decode() if isinstance(last, bytes) else str(last)
