"""What a worker tells about itself besides its slots: services, tags, load; pushed when it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypedDict

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_FACTS_BYTES = 256 * 1024  # they travel in one message to every balancer, on every change


class ServiceState(TypedDict):
    """A service as `/health` shows it."""

    name: str
    status: str  # ready, starting or down
    state: object


class SystemSource(Protocol):
    """Reads the load of the machine."""

    def read(self) -> dict[str, float]:
        """Return `uptime`, `usedMemoryPercent` and `cpuLoad`."""
        ...


class WorkerFacts:
    """The facts of one worker.

    Args:
        system: reads the load of the machine.
    """

    def __init__(self, system: SystemSource) -> None:
        self._system = system
        self._services: list[ServiceState] = []
        self._tags: dict[str, object] = {}
        self._hooks: list[Callable[[], None]] = []

    @property
    def services(self) -> list[ServiceState]:
        """Return the services."""
        return self._services

    @property
    def tags(self) -> dict[str, object]:
        """Return the tags of all sources together."""
        return self._tags

    def system(self) -> dict[str, float]:
        """Return the load of the machine."""
        return self._system.read()

    def set_services(self, services: list[ServiceState]) -> None:
        """Take the services as they are now."""
        if services != self._services:
            self._services = services
            self._changed()

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Take the tags as they are now."""
        if tags != self._tags:
            self._tags = dict(tags)
            self._changed()

    def encoded(self) -> bytes:
        """Return the facts as the link carries them; without the tags when they are too large."""
        facts = {"tags": self._tags, "services": self._services, "system": self.system()}
        encoded = msgspec.json.encode(facts)
        if len(encoded) > MAX_FACTS_BYTES:
            encoded = msgspec.json.encode({**facts, "tags": {}})
        return encoded

    def on_change(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call back when services or tags change; the returned function ends that."""
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook)

    def _changed(self) -> None:
        for hook in tuple(self._hooks):
            hook()
