"""A real engine with links: both real machines joined by hand, so that a test decides what arrives."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.protocol.balancer_link import BalancerLink
from shared.protocol.messages import (
    Chunk,
    Event,
    Facts,
    Finished,
    Refused,
    Report,
    Welcome,
)
from shared.protocol.worker_link import WorkerLink
from tests.unit.worker.workbench import Workbench, turns, workbench
from worker import Context, Function, function
from worker.core.outbox import Outbox
from worker.facts import WorkerFacts
from worker.peers import Identity, Peers
from worker.session import LinkSession

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

WINDOW_S = 2.0


class World:
    """The door that functions wait at."""

    door: asyncio.Event


@function
async def hello(name: str = "World") -> str:
    """Greets."""
    return f"hello {name}"


@function
async def waits() -> str:
    """Waits at the door."""
    await World.door.wait()
    return "through"


@function(streaming=True)
async def stream(pieces: int = 3, *, ctx: Context) -> str:
    """Streams, waits at the door, streams on."""
    for n in range(pieces):
        await ctx.stream(f"{n}")
    await World.door.wait()
    await ctx.stream("last")
    return "end"


@function
async def emits(*, ctx: Context) -> None:
    """Publishes an event."""
    ctx.emit("thing.happened", {"n": 1})


@function
async def big(size: int) -> str:
    """Returns a large text."""
    return "x" * size


class StillLoad:
    """A machine whose load never changes."""

    def read(self) -> dict[str, float]:
        """Return the load."""
        return {"uptime": 1.0, "usedMemoryPercent": 2.0, "cpuLoad": 0.5}


class Recorder:
    """A balancer that keeps what it is told."""

    def __init__(self) -> None:
        self.welcomes: list[Welcome] = []
        self.reports: list[Report] = []
        self.refusals: list[Refused] = []
        self.chunks: list[Chunk] = []
        self.ended: list[tuple[Finished, bytes | None]] = []
        self.known: list[Facts] = []
        self.events: list[Event] = []
        self.ends: list[tuple[str, str]] = []

    def welcomed(self, welcome: Welcome) -> None:
        """Keep it."""
        self.welcomes.append(welcome)
        self.reports.append(welcome.report)

    def reported(self, report: Report) -> None:
        """Keep it."""
        self.reports.append(report)

    def refused(self, refused: Refused) -> None:
        """Keep it."""
        self.refusals.append(refused)

    def chunk(self, chunk: Chunk) -> None:
        """Keep it."""
        self.chunks.append(chunk)

    def finished(self, finished: Finished, result: bytes | None) -> None:
        """Keep it."""
        self.ended.append((finished, result))

    def facts(self, facts: Facts) -> None:
        """Keep it."""
        self.known.append(facts)

    def event(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def silent(self) -> None:
        """Do nothing."""

    def heard(self) -> None:
        """Do nothing."""

    def broken(self, code: str, message: str) -> None:
        """Keep it."""
        self.ends.append((code, message))

    @property
    def statuses(self) -> list[str]:
        """Return how attempts ended."""
        return [finished.status for finished, _ in self.ended]


class WireStub:
    """A wire whose frames are moved by hand."""

    def __init__(self) -> None:
        self.closing: tuple[str, str] | None = None

    def wake(self) -> None:
        """Do nothing: the test settles."""

    def close(self, code: str, message: str) -> None:
        """Note it."""
        self.closing = (code, message)


class Cable:
    """One link: the balancer's real machine, the worker's real machine and session."""

    def __init__(self, bed: LinkBed, balancer_id: str, boot_id: str) -> None:
        self._bed = bed
        self.recorder = Recorder()
        self.balancer = BalancerLink(
            self.recorder,
            WireStub(),
            balancer_id=balancer_id,
            boot_id=boot_id,
            resume_window_s=WINDOW_S,
        )
        self.session = LinkSession(bed.peers)
        self.wire = WireStub()
        self.worker = self.session.link = WorkerLink(self.session, self.wire)
        self.worker.opened(self._now_s)
        self.balancer.opened(self._now_s)
        self.settle()

    @property
    def _now_s(self) -> float:
        return self._bed.bench.clock.monotonic()

    def settle(self) -> None:
        """Move frames until both sides have said all."""
        moved = True
        while moved:
            moved = False
            while (frame := self.balancer.flush()) is not None:
                moved = True
                self.worker.receive(frame, self._now_s)
            while (frame := self.worker.flush()) is not None:
                moved = True
                self.balancer.receive(frame, self._now_s)

    def cut(self) -> None:
        """Cut the link: what was not moved is lost."""
        self.balancer.closed(self._now_s)
        self.worker.closed(self._now_s)
        self.session.closed()

    async def run(self) -> None:
        """Let functions run and their results arrive."""
        await turns()
        self.settle()

    def dispatch(
        self,
        token: str,
        called: Function[..., object] | str,
        input: bytes = b"{}",
        *,
        durable: bool = False,
        mode: str = "sync",
        credit: int = 0,
        remaining: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Dispatch an attempt and let the worker read it."""
        name = called if isinstance(called, str) else called.name
        self.balancer.dispatch(
            token=token,
            task_id=f"task-{token}",
            function=name,
            mode=mode,
            input=input,
            durable=durable,
            credit=credit,
            remaining=remaining,
            timeout=timeout,
            correlation_id=f"corr-{token}",
        )
        self.settle()

    @property
    def available(self) -> int:
        """Return the slots that are free as the balancer computes them."""
        report = self.recorder.reports[-1]
        return report.available - (self.balancer.sent - report.seen)

    def holding(self) -> list[tuple[str, bool]]:
        """Return what the Welcome named: token, and whether it is finished."""
        return [(each.token, each.finished) for each in self.recorder.welcomes[0].holding]


class LinkBed:
    """An engine with links."""

    def __init__(self, bench: Workbench, outbox: Outbox | None) -> None:
        identity = Identity(
            worker_id="w:1", boot_id="wboot", software="cabrank 0", group="g", contract=2
        )
        self.bench = bench
        self.facts = WorkerFacts(StillLoad())
        self.peers = Peers(bench.engine, identity, self.facts, outbox)

    def connect(self, balancer_id: str = "b1", boot_id: str = "boot1") -> Cable:
        """Open a link."""
        return Cable(self, balancer_id, boot_id)


@asynccontextmanager
async def link_bed(limit: int = 2, outbox: Outbox | None = None) -> AsyncGenerator[LinkBed]:
    """Make an engine that hosts the functions above."""
    World.door = asyncio.Event()
    async with workbench(hello, waits, stream, emits, big, limit=limit) as bench:
        yield LinkBed(bench, outbox)
