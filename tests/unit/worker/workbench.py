"""A real engine for tests, with a clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

from shared.errors import Failure
from shared.ids import SequentialIds, TaskId
from shared.task import Mode, Outcome, Piece, PieceKind, TaskRequest
from tests.fakes.manual_clock import ManualClock
from worker.authoring.registry import Registry
from worker.core.direct_queue import DirectTask
from worker.engine import EngineSettings, WorkerEngine
from worker.processes import ProcessPool
from worker.runner import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from worker.authoring.task_function import Function


class RecordingSink:
    """Keeps what it was told; awaiting `end` gives the outcome."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.outcomes: list[Outcome] = []
        self._ended = asyncio.Event()

    def piece(self, piece: Piece) -> None:
        """Take a piece."""
        self.pieces.append(piece)

    def finished(self, outcome: Outcome) -> None:
        """Take the end."""
        self.outcomes.append(outcome)
        self._ended.set()

    async def end(self) -> Outcome:
        """Return the outcome when it is there."""
        async with asyncio.timeout(20):
            await self._ended.wait()
        return self.outcomes[0]

    @property
    def texts(self) -> list[str]:
        """Return the pieces but progress, as text."""
        return [each.data.decode() for each in self.pieces if each.kind is not PieceKind.PROGRESS]


class Workbench:
    """An engine and everything around it that a test looks at."""

    def __init__(
        self, functions: tuple[Function[..., object], ...], settings: EngineSettings
    ) -> None:
        self.clock = ManualClock()
        self.processes = ProcessPool(self.clock, functions, warm=0)
        self.engine = WorkerEngine(
            settings,
            Registry(functions),
            Runner(self.clock, self.processes),
            self.clock,
            SequentialIds("boot"),
            Random(7),
        )
        self._ids = SequentialIds("task")

    def try_submit(
        self,
        function: Function[..., object],
        input: bytes = b"{}",
        *,
        mode: Mode = Mode.SYNC,
        priority: float = 1,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        max_attempts: int | None = None,
        metadata: bytes | None = None,
    ) -> tuple[RecordingSink, DirectTask | Failure]:
        """Submit a direct task."""
        sink = RecordingSink()
        request = TaskRequest(
            function=function.name,
            contract=1,
            input=input,
            mode=mode,
            priority=priority,
            timeout_s=timeout_s,
            deadline_s=deadline_s,
            max_attempts=max_attempts,
            metadata=metadata,
            correlation_id="corr-1",
        )
        return sink, self.engine.submit(request, sink, TaskId(self._ids.next_id()))

    def submit(
        self,
        function: Function[..., object],
        input: bytes = b"{}",
        *,
        mode: Mode = Mode.SYNC,
        priority: float = 1,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        max_attempts: int | None = None,
    ) -> tuple[RecordingSink, DirectTask]:
        """Submit a direct task that must be taken."""
        sink, taken = self.try_submit(
            function,
            input,
            mode=mode,
            priority=priority,
            timeout_s=timeout_s,
            deadline_s=deadline_s,
            max_attempts=max_attempts,
        )
        assert isinstance(taken, DirectTask), taken
        return sink, taken

    def pass_time(self, seconds: float) -> None:
        """Move the clock and let the engine look at it."""
        self.clock.advance(seconds)
        self.engine.tick(self.clock.monotonic())


@asynccontextmanager
async def workbench(
    *functions: Function[..., object],
    limit: int = 2,
    max_queue: int = 100,
    max_queue_bytes: int = 1_000_000,
    task_timeout_s: float | None = None,
    shutdown_grace_s: float = 1.0,
) -> AsyncGenerator[Workbench]:
    """Make an engine for some functions; it is closed at the end, and every slot must be free then."""
    settings = EngineSettings(
        limit=limit,
        max_queue=max_queue,
        max_queue_bytes=max_queue_bytes,
        task_timeout_s=task_timeout_s,
        shutdown_grace_s=shutdown_grace_s,
    )
    bench = Workbench(functions, settings)
    try:
        yield bench
    finally:
        await bench.engine.close()
    assert bench.engine.slots().used == 0, "a slot was not given back"


async def turns(count: int = 5) -> None:
    """Let the loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)
