"""Functions that tell in a ledger when their code runs, and hold on until a test opens their gate.

The ledger is a file of one line for each event: `event name pid token`. It counts executions of real
code, whatever balancer and workers believe of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from cabrank import Context, function

LOOK_S = 0.01  # how often a held function looks whether its gate is open


def tell(folder: str, event: str, name: str, ctx: Context) -> None:
    """Add a line to the ledger; one write, so lines of several processes never mix."""
    line = f"{event} {name} {os.getpid()} {ctx.attempt_token}\n".encode()
    ledger = os.open(Path(folder, "ledger"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, line)
    finally:
        os.close(ledger)


async def wait_for_gate(folder: str, name: str, ctx: Context) -> dict[str, object]:
    """Tell of the beginning, hold on until the gate is open, tell of the end."""
    tell(folder, "start", name, ctx)
    try:
        while not Path(folder, f"gate-{name}").exists():  # noqa: ASYNC110 it waits for another process
            await asyncio.sleep(LOOK_S)
    except asyncio.CancelledError:
        tell(folder, "cancelled", name, ctx)
        raise
    tell(folder, "end", name, ctx)
    return {"name": name, "pid": os.getpid(), "token": ctx.attempt_token}


@function(timeout_s=60)
async def hold(folder: str, name: str, *, ctx: Context) -> dict[str, object]:
    """Go on until the gate of the name is open."""
    return await wait_for_gate(folder, name, ctx)


@function(timeout_s=60, idempotent=True)
async def hold_idempotent(folder: str, name: str, *, ctx: Context) -> dict[str, object]:
    """Do the same; running it twice does no harm."""
    return await wait_for_gate(folder, name, ctx)


@function(timeout_s=60)
async def drip(folder: str, name: str, *, ctx: Context) -> AsyncIterator[str]:
    """Say a line at once and another when the gate of the name is open."""
    yield "first\n"
    await wait_for_gate(folder, name, ctx)
    yield "last\n"


@function(timeout_s=60)
async def note(folder: str, name: str, *, ctx: Context) -> dict[str, object]:
    """Tell that it ran, and no more."""
    tell(folder, "start", name, ctx)
    return {"name": name, "pid": os.getpid(), "token": ctx.attempt_token}


@function(timeout_s=60)
async def freeze_once(folder: str, name: str, *, ctx: Context) -> dict[str, object]:
    """Stop the whole process in mid-execution the first time it runs; thawed, it ends at once."""
    tell(folder, "start", name, ctx)
    first = Path(folder, f"frozen-{name}")
    if not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    tell(folder, "end", name, ctx)
    return {"name": name, "pid": os.getpid(), "token": ctx.attempt_token}


@function(timeout_s=60)
async def last(folder: str, name: str, seconds: float, *, ctx: Context) -> dict[str, object]:
    """Take some time of its own, whatever happens to the balancer meanwhile."""
    tell(folder, "start", name, ctx)
    await asyncio.sleep(seconds)
    tell(folder, "end", name, ctx)
    return {"name": name, "pid": os.getpid(), "token": ctx.attempt_token}


@function(timeout_s=60)
async def fail_until(folder: str, name: str, *, ctx: Context) -> dict[str, object]:
    """Fail until it is mended: until the gate of the name is open."""
    tell(folder, "start", name, ctx)
    if not Path(folder, f"gate-{name}").exists():
        raise ValueError(f"{name} is not mended")
    return {"name": name, "pid": os.getpid(), "token": ctx.attempt_token}


@function(timeout_s=60)
async def die_until(folder: str, name: str, *, ctx: Context) -> dict[str, object]:
    """Take the whole process along until it is mended."""
    tell(folder, "start", name, ctx)
    if not Path(folder, f"gate-{name}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return {"name": name, "pid": os.getpid(), "token": ctx.attempt_token}
