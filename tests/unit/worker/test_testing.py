"""The testing kit for authors: what a worker does around a function, without a balancer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing

import pytest

from shared.errors import CallerError, FunctionError, InvalidParams, TaskTimeout
from tests.fakes.waiting import wait_until
from tests.unit.worker.isolated_functions import async_where
from worker import Context, function
from worker.testing import Report, call, run, stream


class Seen:
    """What the functions below did."""

    cancelled = False
    made = 0


@function
async def hello(name: str = "World") -> dict[str, str]:
    """Greets."""
    return {"greeting": f"Hello, {name}"}


@function
def fails(timeout_s: int) -> None:
    """Raises what it was given."""
    raise LookupError(f"given {timeout_s}")


@function
async def sleeps() -> None:
    """Waits until it is cancelled."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        Seen.cancelled = True


@function(streaming=True)
async def tells(*, ctx: Context) -> str:
    """Uses the context."""
    ctx.progress(1, 2)
    await ctx.stream(b"bytes")
    await ctx.stream({"json": True})
    return str(ctx.metadata.get("who"))


@function
def count(to: int) -> Generator[str, None, None]:
    """Yields numbers."""
    for n in range(to):
        Seen.made = n + 1
        yield str(n)


@function
async def endless() -> AsyncGenerator[str, None]:
    """Yields for ever."""
    while True:
        yield "x" * 10_000


async def test_run_returns_the_result_as_json() -> None:
    """Defaults are filled in, and what comes back is what a caller gets."""
    assert await run(hello) == {"greeting": "Hello, World"}
    assert await run(hello, name="Ada") == {"greeting": "Hello, Ada"}


async def test_run_checks_the_parameters() -> None:
    """The errors are the fleet's own."""
    with pytest.raises(InvalidParams, match="Invalid type for param: name, expected string"):
        await run(hello, name=3)


async def test_an_exception_is_a_function_error() -> None:
    """With the message and the type; `call` takes parameters named like its own arguments."""
    with pytest.raises(FunctionError, match="given 4") as error:
        await call(fails, {"timeout_s": 4})
    assert error.value.failure.error_type == "LookupError"


async def test_limits_hold() -> None:
    """The run is ended at its time limit."""
    Seen.cancelled = False
    with pytest.raises(TaskTimeout):
        await run(sleeps, timeout_s=0.05)
    assert Seen.cancelled


async def test_cancelling_the_call_cancels_the_function() -> None:
    """As when a caller leaves."""
    Seen.cancelled = False
    calling = asyncio.create_task(run(sleeps))
    for _ in range(5):
        await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert Seen.cancelled


async def test_a_report_has_what_the_function_told() -> None:
    """Pieces, progress and the result."""
    report = Report()
    assert await run(tells, metadata={"who": "me"}, report=report) == "me"
    assert report.pieces == [b"bytes", {"json": True}]
    assert report.progress[0]["done"] == 1
    assert report.result == "me"


async def test_stream_yields_the_pieces() -> None:
    """One after the other, without progress."""
    assert [piece async for piece in stream(tells)] == [b"bytes", {"json": True}]
    assert [piece async for piece in stream(count, to=3)] == ["0", "1", "2"]


async def test_leaving_a_stream_cancels_the_function() -> None:
    """A reader that has enough ends an endless function."""
    async with aclosing(stream(endless)) as pieces:
        async for piece in pieces:
            assert len(str(piece)) == 10_000
            break


async def test_a_function_that_does_not_stream_is_refused() -> None:
    """As the fleet refuses it."""
    with pytest.raises(CallerError, match="Function 'hello' does not support streaming"):
        _ = [piece async for piece in stream(hello)]


async def test_isolation_gets_its_process() -> None:
    """A process-isolated function runs in another process, in a test too."""
    result = await run(async_where, word="w")
    assert isinstance(result, dict)
    assert result["word"] == "w"


async def test_a_slow_reader_slows_the_function_down() -> None:
    """The kit grants as it is read."""
    Seen.made = 0
    async with aclosing(stream(count, to=1_000_000)) as pieces:
        async for _ in pieces:
            break
        await wait_until(lambda: Seen.made > 1, "it goes on")
        assert Seen.made < 1_000_000
