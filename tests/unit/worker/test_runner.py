"""Each kind of function, run for real: results, errors, pieces, limits, and slots that come back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from shared.log import correlation_id
from shared.task import Mode, PieceKind
from shared.task_state import TaskStatus
from tests.fakes.waiting import wait_until
from tests.unit.worker.workbench import turns, workbench
from worker import Context, Function, function


class Gates:
    """Doors that tests open for functions that run in threads."""

    opened = threading.Event()
    entered = threading.Event()
    pieces_made = 0


@pytest.fixture(autouse=True)
def closed_gates() -> None:
    """Close the doors before each test."""
    Gates.opened.clear()
    Gates.entered.clear()
    Gates.pieces_made = 0


class Model(BaseModel):
    """A pydantic result."""

    name: str
    at: datetime


@dataclasses.dataclass
class Plain:
    """A dataclass result."""

    n: int


@function
async def hello(name: str = "World") -> dict[str, str]:
    """Greets."""
    return {"hello": name}


@function
def in_thread(n: int) -> dict[str, object]:
    """Says in which thread it ran."""
    return {"n": n, "main": threading.current_thread() is threading.main_thread()}


@function
async def nothing() -> None:
    """Returns nothing."""


@function
async def rich() -> list[object]:
    """Returns what is not plain JSON."""
    return [Model(name="a", at=datetime(2030, 1, 1, tzinfo=UTC)), Plain(3), b"\x00\xff"]


@function
async def unencodable() -> object:
    """Returns what has no JSON form."""
    return object()


@function
async def boom() -> None:
    """Raises."""
    raise KeyError("the key")


@function
async def exits() -> None:
    """Tries to end the worker."""
    raise SystemExit(3)


@function
async def cancels_itself() -> None:
    """Raises what a cancellation raises, though nobody cancelled it."""
    raise asyncio.CancelledError


@function
async def sleeps() -> str:
    """Waits for ever, politely."""
    await asyncio.get_running_loop().create_future()
    return "never"


@function
async def stubborn() -> str:
    """Swallows its first cancellation."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        await asyncio.sleep(0)
    return "too late"


@function
def blocks() -> str:
    """Holds its thread until the test opens the door."""
    Gates.entered.set()
    Gates.opened.wait(20)
    return "done"


@function
def looks(*, ctx: Context) -> str:
    """Holds its thread until it sees that it is cancelled."""
    Gates.entered.set()
    while not ctx.cancelled:
        Gates.opened.wait(0.001)
    return "saw it"


@function
def counts(to: int) -> Generator[str, None, str]:
    """Yields lines from a thread."""
    for n in range(to):
        Gates.pieces_made = n + 1
        yield f"{n:04d}" * 1024
    return "end"


@function
async def acounts(to: int) -> AsyncGenerator[object, None]:
    """Yields from the loop."""
    for n in range(to):
        Gates.pieces_made = n + 1
        yield {"n": n, "pad": "x" * 4096}


@function(streaming=True)
async def talks(*, ctx: Context) -> str:
    """Uses everything of the context."""
    ctx.progress(1, 4, "begin")
    await ctx.stream("text")
    await ctx.stream(b"bytes")
    await ctx.stream({"json": 1})
    await ctx.stream("")
    ctx.progress(4, 4)
    return f"{ctx.task_id} {ctx.attempt} {ctx.correlation_id} {dict(ctx.metadata)}"


@function(streaming=True)
def talks_in_thread(*, ctx: Context) -> str:
    """Streams from a thread."""
    ctx.stream("one")
    ctx.stream("two")
    return correlation_id.get()


@function
async def yields_then_fails() -> AsyncGenerator[str, None]:
    """Fails after its first piece (fault 5)."""
    yield "first"
    raise ValueError("after the first piece")


ALL: list[tuple[Function[..., object], bytes, bytes | None]] = [
    (hello, b"{}", b'{"hello":"World"}'),
    (hello, b'{"name":"Ada"}', b'{"hello":"Ada"}'),
    (in_thread, b'{"n":1}', b'{"n":1,"main":false}'),
    (nothing, b"{}", None),
    (rich, b"{}", b'[{"name":"a","at":"2030-01-01T00:00:00Z"},{"n":3},"AP8="]'),
    (counts, b'{"to":3}', b'"end"'),
    (acounts, b'{"to":3}', None),
    (talks_in_thread, b"{}", b'"corr-1"'),
]


@pytest.mark.parametrize(("called", "given", "result"), ALL)
async def test_a_function_returns(
    called: Function[..., object], given: bytes, result: bytes | None
) -> None:
    """The return value is JSON text; nothing returned is no result."""
    async with workbench(called) as bench:
        sink, _ = bench.submit(called, given)
        outcome = await sink.end()
    assert (outcome.status, outcome.result) == (TaskStatus.SUCCEEDED, result)
    assert outcome.failure is None


FAILURES = [
    (boom, b"{}", "function_error", "'the key'", "KeyError"),
    (exits, b"{}", "function_error", "3", "SystemExit"),
    (cancels_itself, b"{}", "function_error", "CancelledError", "CancelledError"),
    (unencodable, b"{}", "function_error", "The return value has no JSON form", "TypeError"),
    (hello, b'{"name":7}', "invalid_params", "Invalid type for param: name", None),
    (in_thread, b"{}", "invalid_params", "Missing required param: n", None),
]


@pytest.mark.parametrize(("called", "given", "code", "message", "error_type"), FAILURES)
async def test_a_function_fails(
    called: Function[..., object], given: bytes, code: str, message: str, error_type: str | None
) -> None:
    """An exception becomes its message and its class's name; the worker goes on."""
    async with workbench(called, limit=1) as bench:
        sink, _ = bench.submit(called, given)
        outcome = await sink.end()
        assert bench.engine.slots().used == 0
    assert outcome.failure is not None
    assert outcome.failure.code == code
    assert outcome.failure.message.startswith(message)
    assert outcome.failure.error_type == error_type
    assert "Traceback" not in outcome.failure.message


async def test_a_coroutine_that_times_out_is_cancelled_and_its_slot_is_free() -> None:
    """The answer is a time-out, and the code has ended before its slot is given away (fault 13)."""
    async with workbench(sleeps, limit=1) as bench:
        sink, _ = bench.submit(sleeps, timeout_s=2)
        await turns()
        bench.pass_time(1.9)
        assert sink.outcomes == []
        bench.pass_time(0.1)
        outcome = await sink.end()
        assert bench.engine.slots().used == 1
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")
    assert outcome.status is TaskStatus.TIMED_OUT
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.message) == ("timeout", "Timeout")


async def test_an_attempt_stopped_before_its_first_step_gives_its_slot_back() -> None:
    """A task of the loop that is cancelled before it ran runs no code, and is not forgotten."""
    async with workbench(sleeps, limit=1) as bench:
        sink, task = bench.submit(sleeps)
        assert bench.engine.cancel(task.id)
        assert sink.outcomes[0].status is TaskStatus.CANCELLED
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")


async def test_a_result_after_the_time_out_does_not_count() -> None:
    """Only the first decision is told; the late one is counted."""
    async with workbench(stubborn, limit=1) as bench:
        sink, _ = bench.submit(stubborn, timeout_s=1)
        await turns()
        bench.pass_time(1)
        await wait_until(lambda: bench.engine.slots().used == 0, "the code has ended")
        assert [each.status for each in sink.outcomes] == [TaskStatus.TIMED_OUT]
        assert bench.engine.counters.late == 1


async def test_a_thread_that_cannot_be_stopped_keeps_its_slot_and_shows_as_stuck() -> None:
    """No slot is given away while code runs in it; when it ends at last, the slot is back."""
    async with workbench(blocks, hello, limit=2) as bench:
        sink, _ = bench.submit(blocks, timeout_s=1)
        await wait_until(Gates.entered.is_set, "the thread runs")
        bench.pass_time(1)
        assert sink.outcomes[0].status is TaskStatus.TIMED_OUT
        bench.pass_time(5)
        report = bench.engine.slots()
        assert (report.used, report.stuck, report.available) == (1, 1, 1)
        other, _ = bench.submit(hello)
        assert (await other.end()).ok
        Gates.opened.set()
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")
        assert bench.engine.slots().stuck == 0


async def test_when_every_slot_is_stuck_the_worker_asks_to_be_restarted() -> None:
    """A worker whose slots are all lost takes nothing new and says so once."""
    calls: list[str] = []
    async with workbench(blocks, limit=1) as bench:
        bench.engine.on_exhausted(lambda: calls.append("exhausted"))
        bench.submit(blocks, timeout_s=1)
        await wait_until(Gates.entered.is_set, "the thread runs")
        bench.pass_time(1)
        bench.pass_time(5)
        assert calls == ["exhausted"]
        assert bench.engine.maintenance
        Gates.opened.set()
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")


async def test_a_thread_that_looks_at_cancelled_ends() -> None:
    """`ctx.cancelled` turns true for a thread as soon as the attempt is decided."""
    async with workbench(looks, limit=1) as bench:
        sink, task = bench.submit(looks)
        await wait_until(Gates.entered.is_set, "the thread runs")
        bench.engine.cancel(task.id)
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")
        assert [each.status for each in sink.outcomes] == [TaskStatus.CANCELLED]


async def test_threads_are_reused() -> None:
    """Calls one after another need few threads: a new one only when the last is not idle yet."""
    async with workbench(in_thread) as bench:
        before = threading.active_count()
        for _ in range(50):
            sink, _ = bench.submit(in_thread, b'{"n":1}')
            await sink.end()
        assert threading.active_count() <= before + 10


@pytest.mark.parametrize("called", [counts, acounts])
async def test_a_slow_reader_slows_a_generator_down(called: Function[..., object]) -> None:
    """Pieces are made as far as the credit goes, and the rest as it is granted."""
    async with workbench(called) as bench:
        sink, task = bench.submit(called, b'{"to":400}', mode=Mode.STREAM)
        await wait_until(lambda: len(sink.pieces) >= 64, "the credit is used up")
        for _ in range(20):
            await turns()
        assert not sink.outcomes
        assert Gates.pieces_made < 100
        read = 0
        while not sink.outcomes:
            for piece in sink.pieces[read:]:
                bench.engine.grant(task.id, len(piece.data))
                read += 1
            await asyncio.sleep(0)
        assert sink.outcomes[0].ok
        assert [piece.seq for piece in sink.pieces] == list(range(1, 401))
        assert Gates.pieces_made == 400


@pytest.mark.parametrize("called", [counts, acounts])
async def test_a_reader_that_leaves_ends_a_generator(called: Function[..., object]) -> None:
    """A generator that waits for room finds that nobody wants the rest (fault 12)."""
    async with workbench(called, limit=1) as bench:
        sink, task = bench.submit(called, b'{"to":100000}', mode=Mode.STREAM)
        await wait_until(lambda: len(sink.pieces) >= 64, "the credit is used up")
        bench.engine.cancel(task.id, "caller left")
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")
        assert [each.status for each in sink.outcomes] == [TaskStatus.CANCELLED]


async def test_a_stream_holds_its_slot() -> None:
    """While pieces flow the slot is used (fault 11)."""
    async with workbench(acounts, limit=1) as bench:
        sink, task = bench.submit(acounts, b'{"to":100000}', mode=Mode.STREAM)
        await wait_until(lambda: len(sink.pieces) > 3, "pieces flow")
        assert bench.engine.slots().available == 0
        bench.engine.cancel(task.id)


async def test_without_a_reader_pieces_are_dropped() -> None:
    """A generator that is called with mode sync runs to its end."""
    async with workbench(acounts) as bench:
        sink, _ = bench.submit(acounts, b'{"to":400}')
        assert (await sink.end()).ok
        assert sink.pieces == []


async def test_a_context_tells_everything_in_order() -> None:
    """Text, bytes and JSON keep their kinds; progress is told beside them; empty pieces are none."""
    async with workbench(talks) as bench:
        sink, _ = bench.try_submit(talks, mode=Mode.STREAM, metadata=b'{"k":"v"}')
        outcome = await sink.end()
    kinds = [(piece.kind, piece.data) for piece in sink.pieces]
    assert kinds == [
        (PieceKind.PROGRESS, b'{"done":1,"total":4,"message":"begin"}'),
        (PieceKind.TEXT, b"text"),
        (PieceKind.BYTES, b"bytes"),
        (PieceKind.JSON, b'{"json":1}'),
        (PieceKind.PROGRESS, b'{"done":4,"total":4}'),
    ]
    assert outcome.result is not None
    assert json.loads(outcome.result) == "task-1 1 corr-1 {'k': 'v'}"


@pytest.mark.parametrize("text", [b'{"n":1e999}', b'{"s":"\\ud800"}', b"[1"])
async def test_odd_metadata_harms_nobody(text: bytes) -> None:
    """What a caller attached is read when the function asks for it, inside its attempt."""
    async with workbench(talks, hello, limit=1) as bench:
        sink, _ = bench.try_submit(talks, mode=Mode.STREAM, metadata=text)
        assert (await sink.end()).ok == (text != b"[1")
        assert bench.engine.slots().used == 0


async def test_code_that_cannot_be_started_gives_its_slot_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine is out of threads: the caller is told, and the code does not run later either."""
    async with workbench(in_thread, blocks, limit=2) as bench:

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            sink, _ = bench.submit(blocks)
        assert sink.outcomes[0].failure is not None
        assert sink.outcomes[0].failure.code == "internal_error"
        assert bench.engine.slots().used == 0
        other, _ = bench.submit(in_thread, b'{"n":1}')
        assert (await other.end()).ok
        assert not Gates.entered.is_set()


async def test_a_stream_that_raises_after_its_first_piece_harms_nobody() -> None:
    """The piece arrived, the failure is told, the worker goes on (fault 5)."""
    async with workbench(yields_then_fails, hello, limit=1) as bench:
        sink, _ = bench.submit(yields_then_fails, mode=Mode.STREAM)
        outcome = await sink.end()
        assert sink.texts == ["first"]
        assert outcome.failure is not None
        assert outcome.failure.error_type == "ValueError"
        other, _ = bench.submit(hello)
        assert (await other.end()).ok
