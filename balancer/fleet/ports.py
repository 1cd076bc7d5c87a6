"""The seam between the engine and the fleet: what each tells the other.

The engine is above the fleet, so the fleet knows it only as `FleetEvents`. A `WorkerPort` is one way
to reach one worker: a link (`fleet/link.py`) or plain HTTP (`fleet/http_worker.py`); the engine does
not care which. All calls are synchronous, on the event loop, and do not raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from balancer.core.events import Held, WorkerFacts
from balancer.core.live_task import LiveTask
from shared.ids import TaskId, Token, WorkerId
from shared.slot_report import SlotReport
from shared.task import Outcome

if TYPE_CHECKING:
    from balancer.fleet.worker import FleetWorker


class WorkerPort(Protocol):
    """A way to one worker."""

    def dispatch(self, task: LiveTask, body: bytes, remaining_s: float | None) -> bool:
        """Send the task's current attempt; False when it cannot be sent (the way is closed)."""
        ...

    def cancel(self, token: Token, reason: str) -> None:
        """End an attempt."""
        ...

    def ack(self, token: Token) -> None:
        """Let the worker forget a result."""
        ...

    def credit(self, token: Token, size: int) -> None:
        """Let a stream send so many bytes more."""
        ...

    def demand(self, count: int, best_priority: float) -> None:
        """Tell how much waits here for the worker."""
        ...


class FleetEvents(Protocol):
    """What the fleet tells the engine."""

    def worker_up(
        self, port: WorkerPort, facts: WorkerFacts, report: SlotReport, holding: Sequence[Held]
    ) -> None:
        """Take a worker whose link (first or resumed) is open."""
        ...

    def worker_facts(self, facts: WorkerFacts) -> None:
        """Take changed functions, eligibility or weight of a worker that is up or known."""
        ...

    def reported(self, worker: WorkerId, report: SlotReport) -> None:
        """Take a report of its slots."""
        ...

    def refused(
        self, worker: WorkerId, token: Token, code: str, message: str, report: SlotReport
    ) -> None:
        """Take back a dispatch that found no slot."""
        ...

    def chunk(self, worker: WorkerId, token: Token, seq: int, kind: str, data: bytes) -> None:
        """Take a piece of a stream."""
        ...

    def finished(self, worker: WorkerId, token: Token, task_id: TaskId, outcome: Outcome) -> None:
        """Take the end of an attempt."""
        ...

    def link_lost(self, worker: WorkerId) -> None:
        """Note that the way is closed; it may be resumed."""
        ...

    def silent(self, worker: WorkerId) -> None:
        """Note that the way is open and nothing comes."""
        ...

    def heard(self, worker: WorkerId) -> None:
        """Note that something comes again."""
        ...

    def retire(self, worker: WorkerId) -> None:
        """Give a worker no new task: its entry was removed."""
        ...

    def reinstate(self, worker: WorkerId) -> None:
        """Give a retired worker tasks again: its entry came back while it drained."""
        ...

    def forget(self, worker: WorkerId) -> None:
        """Drop a retired worker that runs nothing."""
        ...

    def running_on(self, worker: WorkerId) -> int:
        """Return how many attempts it runs for this balancer."""
        ...

    def discovered(self) -> None:
        """Note that every listed worker has answered or failed once."""
        ...


class Keeper(Protocol):
    """What the dialer of one worker tells and asks the fleet that keeps it."""

    def duplicate(self, worker: FleetWorker, worker_id: str) -> str | None:
        """Return the entry by which the worker of this id is reached already, or None."""
        ...

    def known(self, worker: FleetWorker) -> None:
        """Note that what a worker hosts is known or has changed."""
        ...

    def noted(self, worker: FleetWorker) -> None:
        """Note that a worker's status may have changed."""
        ...

    def looked(self, worker: FleetWorker) -> None:
        """Note that a look has answered or failed, and that what it found is in force."""
        ...

    def order_for(self, worker: FleetWorker) -> bool | None:
        """Return the order that a worker has to be given now that it is back.

        True is maintenance, False the end of it, None leaves it as it is.
        """
        ...

    @property
    def parting(self) -> bool:
        """Tell whether the balancer stops: a way that closes stays closed."""
        ...

    def failed(self, worker: FleetWorker, exc: Exception) -> None:
        """Note a bug of ours; the dialer goes on."""
        ...
