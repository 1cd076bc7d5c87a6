"""A real event loop, with real sockets, whose time can jump: hours pass while nobody sleeps.

Every timer of the loop, those of libraries included, goes by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

STEP_S = 1.0  # less than every heartbeat, so that both ends of a link hear of each other in time
TURNS = 30  # of the loop after each step: what the step woke can send, receive and answer

START = datetime(2030, 1, 1, tzinfo=UTC)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop that can be put forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        super().__init__()

    def time(self) -> float:
        """Return the loop's time, jumps included."""
        return super().time() + self._ahead_s

    def jump(self, seconds: float) -> None:
        """Put the loop forward at one go, as a machine that was suspended."""
        self._ahead_s += seconds

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in steps, and everything happen that happens in it."""
        passed_s = 0.0
        while passed_s < seconds:
            self.jump(STEP_S)
            passed_s += STEP_S
            for _ in range(TURNS):
                await asyncio.sleep(0)


class LoopClock:
    """A `shared.clock.Clock` that goes by the loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def utc_now(self) -> datetime:
        """Return the wall clock of the test."""
        return START + timedelta(seconds=self._loop.time())


def in_jumping_time(main: Callable[[JumpingLoop], Awaitable[None]]) -> None:
    """Run a test on a loop whose time can jump."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        await main(loop)

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(run())
