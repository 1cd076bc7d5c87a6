"""What operators ordered, in Redis: the `OrderStore` of the shared store."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.store.redis.parts import Keys
    from balancer.store.redis.wire import Wire


class RedisOrders:
    """Orders in the set `maintenance`."""

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._key = keys.meta("maintenance")

    async def maintenance(self) -> frozenset[str]:
        """Return ids of the workers ordered into maintenance."""
        answer = await self._wire.command("SMEMBERS", self._key)
        return frozenset(worker.decode() for worker in cast("Iterable[bytes]", answer))

    async def set_maintenance(self, worker: str, on: bool) -> None:
        """Keep an order; durable when this returns."""
        await self._wire.command("SADD" if on else "SREM", self._key, worker)
