"""The functions that the workers of the simulation host: they do as their input says, and tell the stage.

The stage is the witness: code that really runs says so itself, so that slots and attempts are
checked against what happens and not against what anybody believes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from tests.simulation.virtual_time import Process, ProcessLoop
from worker.authoring.context import Context
from worker.authoring.decorators import function

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from worker.authoring.task_function import Function

FOR_EVER_S = 100_000.0
LARGE = 100_000  # bytes of a large result: more than one part of a link's body
PIECE = 30_000  # bytes of a large piece: a few fill the credit of a stream


class Stage(Protocol):
    """Who sees code run."""

    def began(self, process: Process, task_id: str, token: str) -> None:
        """Note that code begins."""
        ...

    def ended(self, process: Process, token: str, how: str) -> None:
        """Note that it has ended: returned, raised or cancelled."""
        ...

    def poisoned(self, process: Process) -> None:
        """Note that code takes its process down."""
        ...


class StagedProcess(Process):
    """A process that runs functions before a stage."""

    stage: Stage


class Staged:
    """A stretch of code on the stage, as a context manager."""

    def __init__(self, ctx: Context) -> None:
        self._process = process_here()
        self._token = ctx.attempt_token
        self._process.stage.began(self._process, ctx.task_id, ctx.attempt_token)

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        how = "returned"
        if kind is not None:
            how = "raised" if issubclass(kind, Exception) else "cancelled"
        self._process.stage.ended(self._process, self._token, how)


def process_here() -> StagedProcess:
    """Return the process in which this runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ProcessLoop)
    assert isinstance(loop.process, StagedProcess)
    return loop.process


class Planned(Exception):
    """The input asked for it."""


async def act(run_s: float, fate: str, fails: int, ctx: Context) -> None:
    """Do what the input says.

    Args:
        run_s: how long the work takes.
        fate: `ok`, `large` (a large result), `hang` (until it is stopped), `stubborn` (goes on for a
            while when it is stopped), `poison` (its worker dies of it).
        fails: attempts that raise before one succeeds.
        ctx: of the task.
    """
    if fate == "poison":
        process = process_here()
        process.stage.poisoned(process)
    if fate in ("hang", "poison"):
        await asyncio.sleep(FOR_EVER_S)
    try:
        await asyncio.sleep(run_s)
    except asyncio.CancelledError:
        if fate == "stubborn":
            await asyncio.sleep(4 * run_s)  # whoever told it to stop is not heard
        raise
    if ctx.attempt <= fails:
        raise Planned(f"attempt {ctx.attempt} of {fails} that fail")


def answer(n: int, fate: str, ctx: Context) -> dict[str, object]:
    """Return what shows whose result it is."""
    result: dict[str, object] = {"n": n, "token": ctx.attempt_token}
    if fate == "large":
        result["pad"] = "x" * LARGE
    return result


@function(timeout_s=20.0)
async def plain(
    n: int, run_s: float, fate: str = "ok", fails: int = 0, pad: str = "", *, ctx: Context
) -> dict[str, object]:
    """Runs once."""
    del pad
    with Staged(ctx):
        await act(run_s, fate, fails, ctx)
    return answer(n, fate, ctx)


@function(timeout_s=20.0, idempotent=True)
async def safe(
    n: int, run_s: float, fate: str = "ok", fails: int = 0, pad: str = "", *, ctx: Context
) -> dict[str, object]:
    """May run again when its worker is lost."""
    del pad
    with Staged(ctx):
        await act(run_s, fate, fails, ctx)
    return answer(n, fate, ctx)


@function(timeout_s=5.0, max_retries=2, retry_delay_s=0.4)
async def retried(
    n: int, run_s: float, fate: str = "ok", fails: int = 0, pad: str = "", *, ctx: Context
) -> dict[str, object]:
    """Runs again when it fails."""
    del pad
    with Staged(ctx):
        await act(run_s, fate, fails, ctx)
    return answer(n, fate, ctx)


@function(timeout_s=20.0)
async def extra(
    n: int, run_s: float, fate: str = "ok", fails: int = 0, pad: str = "", *, ctx: Context
) -> dict[str, object]:
    """Is not hosted by workers of an older version."""
    del pad
    with Staged(ctx):
        await act(run_s, fate, fails, ctx)
    return answer(n, fate, ctx)


@function(timeout_s=30.0, idempotent=True)
async def pieces(
    n: int, run_s: float, count: int, fails: int = 0, size: int = 0, *, ctx: Context
) -> AsyncGenerator[str, None]:
    """Streams numbered pieces."""
    del n
    with Staged(ctx):
        await asyncio.sleep(run_s)
        if ctx.attempt <= fails:
            raise Planned("before the first piece")
        for number in range(1, count + 1):
            yield f"{number}:{ctx.attempt_token}:" + "x" * size
            await asyncio.sleep(run_s)


@function(timeout_s=4.0)
def blocking(n: int, *, ctx: Context) -> dict[str, object]:
    """Blocks a thread: how long, the pool decides."""
    with Staged(ctx):
        return answer(n, "ok", ctx)


def hosted(*, old: bool) -> tuple[Function[..., object], ...]:
    """Return the functions of a worker, of this version or the one before."""
    every = (plain, safe, retried, pieces, blocking) if old else EVERY
    return cast("tuple[Function[..., object], ...]", every)


EVERY = (plain, safe, retried, extra, pieces, blocking)
