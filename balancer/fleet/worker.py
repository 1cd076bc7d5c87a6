"""What the balancer knows about one listed worker, and how it shows it (contract §5)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from balancer.core.events import WorkerFacts
from shared.capability import FunctionSpec
from shared.ids import BootId

if TYPE_CHECKING:
    from balancer.fleet.ports import WorkerPort
    from balancer.fleet.roster import Entry
    from shared.ids import PoolKey, WorkerId
    from shared.slot_report import SlotReport

MAX_FACT_BYTES = 256 * 1024  # tags, services and system of one worker; more is a broken worker


class FleetWorker:
    """One entry of workers.json and what its worker has told.

    Attributes:
        entry: its entry.
        order: its place in workers.json; the first of a group and contract is the reference.
        worker_id: the worker's own id; two entries with the same are one worker.
        boot: id of its process start.
        group, contract, functions: what it hosts; empty until known.
        announced: `functions` as it sent them.
        report: its last report.
        facts: tags, services, system.
        differences: functions that get no task here, with what differs from the reference.
        problem: why it cannot be used; shown to operators.
        link: `cabrank`, `legacy` or `none`.
        found: it answered the last time it was asked.
        port: the way to it while there is one.
        silent: the way is open and nothing comes.
        retired: its entry was removed; it finishes what it runs.
        latency_s: round trip of the last heartbeat.
    """

    def __init__(self, entry: Entry, order: int) -> None:
        self.entry = entry
        self.order = order
        self.worker_id = ""
        self.boot = BootId("")
        self.software = ""
        self.group: str | None = None
        self.contract: int | None = None
        self.functions: dict[str, FunctionSpec] = {}
        self.announced: list[object] = []
        self.report: SlotReport | None = None
        self.facts: dict[str, object] = {}
        self.websocket_port: int | None = None
        self.differences: dict[str, str] = {}
        self.problem: str | None = None
        self.link = "none"
        self.found = False
        self.port: WorkerPort | None = None
        self.silent = False
        self.retired = False
        self.latency_s: float | None = None

    @property
    def id(self) -> WorkerId:
        """Return `host:port`."""
        return self.entry.id

    @property
    def pool(self) -> PoolKey | None:
        """Return its group and contract once known."""
        if self.group is None or self.contract is None:
            return None
        return (self.group, self.contract)

    @property
    def status(self) -> str:
        """Return ready, maintenance or unreachable."""
        if self.port is None or self.silent:
            return "unreachable"
        return "maintenance" if self.report is not None and self.report.maintenance else "ready"

    def announce(self, group: str, contract: int, functions: object) -> bool:
        """Take what it hosts; items that cannot be read are left out. Tell whether it is news."""
        announced = cast("list[object]", functions) if isinstance(functions, list) else []
        if (self.group, self.contract, self.announced) == (group, contract, announced):
            return False
        self.group, self.contract, self.announced = group, contract, announced
        specs = (FunctionSpec.from_wire(item) for item in announced)
        self.functions = {spec.name: spec for spec in specs if spec is not None}
        return True

    def learn(self, facts: object) -> None:
        """Take tags, services and system; what is not an object is ignored."""
        if isinstance(facts, dict):
            known = cast("dict[str, object]", facts)
            self.facts |= {
                key: known[key] for key in ("tags", "services", "system") if key in known
            }

    def learn_json(self, raw: bytes) -> None:
        """Take the same as JSON text from the link."""
        if len(raw) > MAX_FACT_BYTES:
            return
        try:
            self.learn(json.loads(raw))
        except ValueError:
            return

    def core_facts(self) -> WorkerFacts:
        """Return what the scheduler needs to know."""
        assert self.group is not None
        assert self.contract is not None
        return WorkerFacts(
            worker=self.id,
            boot=self.boot,
            group=self.group,
            contract=self.contract,
            functions=self.functions,
            eligible=frozenset(self.functions.keys() - self.differences.keys()),
            weight=self.entry.weight,
            kind="link" if self.link == "cabrank" else "http",
            order=self.order,
        )

    def view(self) -> dict[str, object]:
        """Return the worker as the API shows it; what is not known yet is absent."""
        shown: dict[str, object] = {
            "id": self.id,
            "url": self.entry.url,
            "status": self.status,
            "weight": self.entry.weight,
            "link": self.link,
        }
        if self.pool is not None:
            shown |= {"group": self.group, "contract": self.contract, "functions": self.announced}
            shown |= {"tags": {}, "services": [], "system": {}, **self.facts}
            shown["contractValid"] = not self.differences
        if self.websocket_port is not None:
            shown["websocketPort"] = self.websocket_port
        if self.report is not None:
            shown["slots"] = slots_view(self.report)
            shown["stuck"] = self.report.stuck
        if self.differences:
            shown["contractMismatchReason"] = "; ".join(self.differences.values())
        if self.problem is not None:
            shown["problem"] = self.problem
        if self.retired:
            shown["retired"] = True
        if self.worker_id:
            shown |= {"workerId": self.worker_id, "version": self.software}
        if self.latency_s is not None:
            shown["latency_ms"] = round(self.latency_s * 1000, 3)
        return shown


def slots_view(report: SlotReport) -> dict[str, int]:
    """Return a report as Andera shows slots."""
    return {
        "used": report.used,
        "available": report.available,
        "limit": report.limit,
        "queue": report.queue,
    }
