"""Which parts of a store are in use: those that hold something, or once did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from balancer.store.redis.parts import Keys
    from balancer.store.redis.wire import Wire


class KnownParts:
    """The parts that this process knows of; the store keeps the whole list.

    Args:
        wire: to the server.
        keys: of the namespace.
    """

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self.keys = keys
        self._wire = wire
        self._listed: set[int] = set()  # in the store's list for sure
        self._known: set[int] = set()

    @property
    def used(self) -> list[int]:
        """Return the parts, in order."""
        return sorted(self._known)

    async def ensure(self, parts: Iterable[int]) -> None:
        """Put parts on the list, before anything is put into them.

        Raises:
            Unavailable: the list could not be written.
        """
        missing = [part for part in parts if part not in self._listed]
        if missing:
            await self._wire.command("SADD", self.keys.meta("parts"), *missing)
            self._listed.update(missing)
            self._known.update(missing)

    async def refresh(self) -> None:
        """Read the list: others may have put something on it.

        Raises:
            Unavailable: it could not be read.
        """
        answer = await self._wire.command("SMEMBERS", self.keys.meta("parts"))
        listed = {int(part) for part in cast("Iterable[bytes]", answer)}
        self._listed |= listed
        self._known |= listed

    def forget(self) -> None:
        """Put parts on the list again when they are next used."""
        self._listed.clear()
