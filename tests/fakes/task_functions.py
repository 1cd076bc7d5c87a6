"""Functions that workers of tests host: one for each way in which a call can go."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from worker import Context, Function, function


@function
async def hello(
    name: Annotated[str, Field(min_length=2, max_length=20)] = "World",
) -> dict[str, str]:
    """Greets someone."""
    return {"message": f"Hello {name}!"}


@function(log_result=False)  # its result is its input, and inputs are not for logs
async def echo(text: str) -> str:
    """Returns its input."""
    return text


@function
async def nothing() -> None:
    """Returns nothing."""


@function
async def fail(text: str = "boom") -> None:
    """Raises."""
    raise ValueError(text)


@function(timeout_s=0.05)
async def short() -> None:
    """Takes longer than it may."""
    await asyncio.Event().wait()


@function
async def slow(ms: Annotated[float, Field(ge=1)]) -> dict[str, float]:
    """Takes a number."""
    return {"slept": ms}


@function(streaming=True)
async def stream(pieces: list[str], *, ctx: Context) -> int:
    """Streams pieces and returns their number."""
    for piece in pieces:
        await ctx.stream(piece)
    return len(pieces)


@function(streaming=True)
async def stream_fail(pieces: list[str], *, ctx: Context) -> None:
    """Streams pieces and raises."""
    for piece in pieces:
        await ctx.stream(piece)
    raise ValueError("mid")


PLAIN: tuple[Function[..., object], ...] = (
    hello, echo, nothing, fail, short, slow, stream, stream_fail,
)  # fmt: skip


class HeldWork:
    """Functions that run until the test lets them go.

    Attributes:
        begun: the labels of calls, in the order in which they began.
        ended: those that were let go.
        cancelled: those that were cancelled.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}
        self._open = False

    @property
    def running(self) -> int:
        """Return how many calls hold a slot by running."""
        return len(self.begun) - len(self.ended) - len(self.cancelled)

    def let_go(self, label: str | None = None) -> None:
        """Let one call end, or every one from now on."""
        if label is not None:
            self._gate(label).set()
            return
        self._open = True
        for gate in self._gates.values():
            gate.set()

    def functions(self, *, idempotent: bool = False) -> list[Function[..., object]]:
        """Return `hold`, which waits and returns its label, and `hold_stream`, which shows it first."""

        @function(idempotent=idempotent)
        async def hold(label: str) -> str:
            """Waits until it is let go."""
            return await self._held(label)

        @function(streaming=True, idempotent=idempotent)
        async def hold_stream(label: str, *, ctx: Context) -> str:
            """Streams its label, then waits until it is let go."""
            await ctx.stream(f"{label}\n")
            return await self._held(label)

        return [hold, hold_stream]

    async def _held(self, label: str) -> str:
        self.begun.append(label)
        try:
            if not self._open:
                await self._gate(label).wait()
        except asyncio.CancelledError:
            self.cancelled.append(label)
            raise
        self.ended.append(label)
        return label

    def _gate(self, label: str) -> asyncio.Event:
        return self._gates.setdefault(label, asyncio.Event())
