"""What a worker says about itself: to `/health`, to the legacy slot socket, to its home page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.protocol.version import MIN_VERSION, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.engine import WorkerEngine
    from worker.facts import WorkerFacts
    from worker.peers import Identity

LINK_PATH = "/link"


class WorkerStatus:
    """The worker as the outside sees it.

    Args:
        engine: knows the slots and the functions.
        facts: knows services, tags and load.
        identity: who the worker is.
        port: the one port of the worker.
        version: of the software.
    """

    def __init__(
        self,
        engine: WorkerEngine,
        facts: WorkerFacts,
        identity: Identity,
        *,
        port: int,
        version: str,
    ) -> None:
        self.identity = identity
        self.version = version
        self._port = port
        self._engine = engine
        self._facts = facts

    def status(self) -> str:
        """Return `ready` or `maintenance`."""
        return "maintenance" if self._engine.maintenance else "ready"

    def slots(self) -> dict[str, object]:
        """Return the status and the slots, as Andera words them."""
        report = self._engine.slots()
        slots = {
            "used": report.used,
            "available": report.available,
            "limit": report.limit,
            "queue": report.queue,
        }
        return {"status": self.status(), "slots": slots}

    def full(self) -> dict[str, object]:
        """Return the same with the load of the machine and the services."""
        return {
            **self.slots(),
            "system": self._facts.system(),
            "services": self._facts.services,
        }

    def health(self) -> dict[str, object]:
        """Return everything, for whoever has a key (contract §3)."""
        who = self.identity
        return {
            "status": self.status(),
            "group": who.group,
            "contract": who.contract,
            "websocketPort": self._port,
            "functions": [spec.wire() for spec in self._engine.specs()],
            "services": self._facts.services,
            "tags": self._facts.tags,
            "slots": self.slots()["slots"],
            "system": self._facts.system(),
            "version": self.version,
            "worker_id": who.worker_id,
            "stuck": self._engine.slots().stuck,
            "link": {"path": LINK_PATH, "version": VERSION, "min_version": MIN_VERSION},
        }

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back when slots, services or tags change; the returned function ends that."""
        ends = (self._engine.on_change(changed), self._facts.on_change(changed))

        def end() -> None:
            for each in ends:
                each()

        return end
