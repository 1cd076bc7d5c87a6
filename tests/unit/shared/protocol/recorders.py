"""Handlers that write down what they are told, and answer as a test says."""

from __future__ import annotations

from shared.errors import Failure
from shared.protocol.messages import (
    Chunk,
    Dispatch,
    Event,
    Facts,
    Finished,
    Goodbye,
    Hello,
    Holding,
    Refused,
    Report,
    Welcome,
)

Told = tuple[object, ...]


def welcome_message(report: Report | None = None, holding: list[Holding] | None = None) -> Welcome:
    """Return the Welcome of a worker with 4 free slots."""
    return Welcome(
        1,
        "worker-1",
        "worker-boot-1",
        "cabrank 0.1.0",
        "default",
        1,
        b"[]",
        report or slots(4),
        holding or [],
    )


def slots(available: int, limit: int = 4, seen: int = 0) -> Report:
    """Return a report of a worker that runs `limit - available` attempts."""
    return Report(seen, available, limit, limit - available)


class RecordingBalancer:
    """A `BalancerHandler` that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.reports: list[Report] = []
        self.results: dict[str, bytes | None] = {}

    def names(self) -> list[object]:
        """Return the names of what it was told."""
        return [each[0] for each in self.told]

    def welcomed(self, welcome: Welcome) -> None:
        """Write it down."""
        self.told.append(("welcomed", welcome))

    def reported(self, report: Report) -> None:
        """Write it down."""
        self.told.append(("reported", report.seen, report.available))
        self.reports.append(report)

    def refused(self, refused: Refused) -> None:
        """Write it down."""
        self.told.append(("refused", refused.token, refused.code, refused.report.seen))

    def chunk(self, chunk: Chunk) -> None:
        """Write it down."""
        self.told.append(("chunk", chunk.token, chunk.seq, chunk.data))

    def finished(self, finished: Finished, result: bytes | None) -> None:
        """Write it down."""
        self.told.append(("finished", finished.token, finished.status))
        self.results[finished.token] = result

    def facts(self, facts: Facts) -> None:
        """Write it down."""
        self.told.append(("facts", facts.facts, facts.functions))

    def event(self, event: Event) -> None:
        """Write it down."""
        self.told.append(("event", event.token, event.name, event.data))

    def silent(self) -> None:
        """Write it down."""
        self.told.append(("silent",))

    def heard(self) -> None:
        """Write it down."""
        self.told.append(("heard",))

    def broken(self, code: str, message: str) -> None:
        """Write it down."""
        self.told.append(("broken", code, message))


class RecordingWorker:
    """A `WorkerHandler` that writes down what it is told.

    Attributes:
        answer: to Hello.
        slots: what it reports; set it and `touch` the link.
        refusal: to every reservation.
        reports: how often a report was cut.
    """

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.answer: Welcome | Goodbye | None = welcome_message()
        self.slots = slots(4)
        self.refusal: Failure | str | None = None
        self.inputs: dict[str, tuple[bytes, bytes | None]] = {}
        self.reports = 0

    def names(self) -> list[object]:
        """Return the names of what it was told."""
        return [each[0] for each in self.told]

    def hello(self, hello: Hello) -> Welcome | Goodbye | None:
        """Write it down, and answer."""
        self.told.append(("hello", hello.balancer_id, hello.boot_id))
        return self.answer

    def reserve(self, dispatch: Dispatch) -> Failure | str | None:
        """Write it down, and answer."""
        self.told.append(("reserve", dispatch.token))
        return self.refusal

    def dispatch(self, dispatch: Dispatch, input: bytes) -> None:
        """Write it down."""
        self.told.append(("dispatch", dispatch.token))
        self.inputs[dispatch.token] = (input, dispatch.metadata)

    def cancel(self, token: str, reason: str) -> None:
        """Write it down."""
        self.told.append(("cancel", token, reason))

    def acked(self, tokens: list[str]) -> None:
        """Write it down."""
        self.told.append(("acked", *tokens))

    def credit(self, token: str, size: int) -> None:
        """Write it down."""
        self.told.append(("credit", token, size))

    def demand(self, count: int, best_priority: float) -> None:
        """Write it down."""
        self.told.append(("demand", count, best_priority))

    def maintenance(self, on: bool) -> None:
        """Write it down."""
        self.told.append(("maintenance", on))

    def report(self) -> Report:
        """Count, and answer."""
        self.reports += 1
        return self.slots

    def silent(self) -> None:
        """Write it down."""
        self.told.append(("silent",))

    def heard(self) -> None:
        """Write it down."""
        self.told.append(("heard",))

    def broken(self, code: str, message: str) -> None:
        """Write it down."""
        self.told.append(("broken", code, message))
