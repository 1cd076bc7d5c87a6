"""Functions that run in a process of their own, for `test_processes.py`; the child imports this file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from worker import Context, function


@function(isolation="process")
def where() -> int:
    """Says in which process it runs."""
    return os.getpid()


@function(isolation="process")
async def async_where(word: str = "w") -> dict[str, object]:
    """The same from a coroutine."""
    return {"pid": os.getpid(), "word": word}


@function(isolation="process")
def spins(marker: str) -> None:
    """Computes for ever; says so in a file, with the process that it started too."""
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(marker).write_text(f"{os.getpid()} {helper.pid}")
    while True:
        pass


@function(isolation="process")
def dies(how: str) -> None:
    """Ends its process."""
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


@function(isolation="process")
def raises() -> None:
    """Raises."""
    raise LookupError("looked in vain")


@function(isolation="process")
def exits() -> None:
    """Ends the interpreter, or so it thinks."""
    sys.exit("enough")


@function(isolation="process")
def yields(count: int) -> Generator[str, None, str]:
    """Streams lines and returns."""
    for n in range(count):
        yield f"{n:05d}" * 2000
    return "end"


@function(isolation="process")
async def ayields(count: int) -> AsyncGenerator[dict[str, int], None]:
    """Streams from a coroutine."""
    for n in range(count):
        yield {"n": n}


@function(isolation="process", streaming=True)
def talks(*, ctx: Context) -> dict[str, object]:
    """Uses the whole context."""
    ctx.progress(1, 2)
    ctx.stream("text")
    ctx.emit("thing.happened", {"n": 1})
    ctx.log.info("a line of the child", word="logged")
    return {
        "task": ctx.task_id,
        "attempt": ctx.attempt,
        "token": ctx.attempt_token,
        "correlation": ctx.correlation_id,
        "metadata": dict(ctx.metadata),
        "limited": ctx.remaining_s is not None and 0 < ctx.remaining_s <= 30,
        "cancelled": ctx.cancelled,
    }


@function(isolation="process")
def unencodable() -> object:
    """Returns what has no JSON form."""
    return object()


@function(isolation="process")
def logs(how: str, *, ctx: Context) -> str:
    """Logs what collides with the names of a logger's own parameters, or has no UTF-8."""
    if how == "names":
        ctx.log.info("a line", level=3, action="a", prefix="p", text="t")
    else:
        ctx.log.info("lone \udcff", path="/tmp/\udcff")
    return how


@function(isolation="process")
def emits_too_much(*, ctx: Context) -> None:
    """Publishes an event that no message holds."""
    ctx.emit("thing.happened", "x" * 100_000)
