"""An engine over a memory store that can break, with a clock that a test moves and callers that listen."""

from __future__ import annotations

from random import Random

from balancer.core.live_task import LiveTask
from balancer.core.settings import Settings
from balancer.engine import Engine
from balancer.store.ports import Store
from balancer.store.sealing import Sealer
from shared.errors import Failure
from shared.ids import SequentialIds
from shared.log import TaskLog
from shared.log_ring import LogRing
from shared.task import Mode, Outcome, Piece, TaskRequest, WebhookTarget
from tests.fakes.manual_clock import ManualClock
from tests.fakes.store_openers import MemoryOpener


class Caller:
    """A sink that keeps what it was told."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.outcomes: list[Outcome] = []

    def piece(self, piece: Piece) -> None:
        """Keep a piece."""
        self.pieces.append(piece)

    def finished(self, outcome: Outcome) -> None:
        """Keep the end, of which there must be one."""
        self.outcomes.append(outcome)

    @property
    def outcome(self) -> Outcome:
        """Return the one end."""
        (outcome,) = self.outcomes
        return outcome


class EngineRig:
    """One engine after the other over one set of shelves.

    Attributes:
        engine: the present one.
        clock: moved by the test.
        shelves: the memory store's opener; its outages are the test's.
        store: the present one's.
        ring: the engine's log.
        outbox_calls: how often the outbox was said to have something.
    """

    engine: Engine
    store: Store

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.shelves = MemoryOpener()
        self.ring = LogRing(self.clock, level="debug")
        self._starts = 0

    async def start(self, *, max_durable: int = 100, discovered: bool = True) -> int:
        """Start an engine over what the last one left; return how many tasks it took over."""
        self._starts += 1
        self.store = await self.shelves.open()
        self.engine = Engine(
            Settings(), clock=self.clock, ids=SequentialIds(f"b{self._starts}"), chance=Random(1),
            store=self.store, sealer=Sealer("key"), log=TaskLog(self.ring), max_durable=max_durable,
        )  # fmt: skip
        recovered = await self.engine.recover()
        if discovered:
            self.engine.discovered()
        return recovered

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass and the scheduler see it."""
        self.clock.advance(seconds)
        self.engine.scheduler.tick(self.clock.monotonic())

    def submit(self, function: str = "plain", *, mode: Mode = Mode.SYNC) -> tuple[LiveTask, Caller]:
        """Submit a call that must be taken."""
        caller = Caller()
        task = self.engine.submit(request(function, mode=mode), caller)
        assert not isinstance(task, Failure), task
        return task, caller

    async def accept(self, function: str = "plain", **members: object) -> LiveTask:
        """Accept a durable task that must be taken."""
        task = await self.engine.accept(request(function, **members))
        assert not isinstance(task, Failure), task
        return task


def request(function: str = "plain", **members: object) -> TaskRequest:
    """Return a task of contract 1 of the group `default`."""
    given = {"contract": 1, "group": "default", "function": function, **members}
    return TaskRequest(**given)  # pyright: ignore[reportArgumentType] of this test's own making


HOOK = WebhookTarget(url="http://hooks.test/x")
