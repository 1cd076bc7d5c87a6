"""The engine around attempts: views, hooks, counters, the timer."""

from __future__ import annotations

import asyncio
import gc
import threading

from shared.log_ring import LogQuery, LogRing, Subscription
from shared.task import Outcome
from shared.task_state import TaskStatus
from tests.fakes.manual_clock import ManualClock
from tests.fakes.waiting import wait_until
from tests.unit.worker.workbench import turns, workbench
from worker import Context, function
from worker.attempt import Attempt
from worker.counters import RUN_BOUNDS_S, FunctionCounters
from worker.engine import TICK_S
from worker.journal import Journal

OPENED = threading.Event()


@function(timeout_s=5)
async def quick(secret: str = "") -> str:
    """Returns at once.

    A second paragraph.
    """
    return "result-text"


@function(log_input=True, log_result=False)
async def shown(word: str) -> str:
    """Lets its input be logged, and not its result."""
    return f"hidden-{word}"


@function
async def long() -> str:
    """Returns a long text."""
    return "x" * 5000


@function
async def sleeps() -> None:
    """Waits for ever."""
    await asyncio.get_running_loop().create_future()


@function
async def asks(ctx: Context) -> str:
    """Wants its context."""
    return ctx.task_id


@function
async def named() -> str | None:
    """Tells the name of the task of the loop that runs it."""
    task = asyncio.current_task()
    return None if task is None else task.get_name()


@function
def blocks(ctx: Context) -> str:
    """Runs in a thread."""
    return ctx.task_id


@function
def holds() -> None:
    """Holds its thread."""
    OPENED.wait(20)


async def test_functions_are_found_as_they_are_announced() -> None:
    """One look-up serves the edge's checks; names are in order."""
    async with workbench(sleeps, quick) as bench:
        spec = bench.engine.find_function("quick")
        assert spec is not None
        assert (spec.description, spec.timeout_s) == ("Returns at once.", 5)
        assert bench.engine.find_function("nope") is None
        assert [each.name for each in bench.engine.specs()] == ["quick", "sleeps"]


async def test_the_limit_of_a_run_is_the_tasks_then_the_functions_then_the_default() -> None:
    """timeout_s of the task wins, the worker's default comes last."""
    async with workbench(sleeps, quick) as bench:
        engine = bench.engine
        assert engine.timeout_of(quick, 0.5) == 0.5
        assert engine.timeout_of(quick, None) == 5
        assert engine.timeout_of(sleeps, None) == 30


async def test_hooks_hear_every_change_of_the_slots() -> None:
    """Taken, freed, maintenance; and nothing after they were taken back."""
    async with workbench(quick, limit=1) as bench:
        seen: list[tuple[int, bool]] = []

        def look() -> None:
            report = bench.engine.slots()
            seen.append((report.used, report.maintenance))

        forget = bench.engine.on_change(look)
        sink, _ = bench.submit(quick)
        await sink.end()
        bench.engine.set_maintenance(True)
        bench.engine.set_maintenance(True)
        assert seen[0] == (1, False)
        assert (0, False) in seen
        assert seen[-1] == (0, True)
        forget()
        count = len(seen)
        bench.engine.set_maintenance(False)
        assert len(seen) == count


async def test_the_timer_ticks_by_itself() -> None:
    """A started engine times attempts out without being told to."""
    async with workbench(sleeps, limit=1) as bench:
        bench.engine.start()
        sink, _ = bench.submit(sleeps, timeout_s=1)
        await turns()
        bench.clock.advance(1)
        await wait_until(lambda: sink.outcomes, "the timer found it", timeout_s=20 * TICK_S)
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")


async def test_closing_gives_up_on_threads_that_do_not_end() -> None:
    """What cannot be ended is left to the process's end, after the grace."""
    OPENED.clear()
    async with workbench(holds, limit=1, shutdown_grace_s=0.01) as bench:
        sink, _ = bench.submit(holds)
        await bench.engine.close()
        assert len(sink.outcomes) == 1
        assert bench.engine.slots().used == 1
        OPENED.set()
        await wait_until(lambda: bench.engine.slots().used == 0, "the thread has ended")


async def test_decisions_are_counted_by_function() -> None:
    """Each decision once, with its time in one bucket."""
    async with workbench(quick, sleeps) as bench:
        for given in (b"{}", b"{}", b'{"secret":1}'):
            sink, _ = bench.submit(quick, given)
            await sink.end()
        sink, task = bench.submit(sleeps)
        await turns()
        bench.clock.advance(0.3)
        bench.engine.cancel(task.id)
        await turns()
        counters = bench.engine.counters
        assert (counters.began, counters.direct) == (4, 4)
        done = counters.function("quick")
        assert (done.succeeded, done.failed, sum(done.buckets)) == (2, 1, 3)
        gone = counters.function("sleeps")
        assert gone.cancelled == 1
        assert round(gone.run_seconds, 6) == 0.3
        assert gone.buckets[RUN_BOUNDS_S.index(0.5)] == 1


def test_a_bucket_counts_up_to_its_bound() -> None:
    """The bound itself belongs to its bucket, what is above all to the last."""
    counters = FunctionCounters()
    done = Outcome(TaskStatus.SUCCEEDED)
    for seconds in (0.0, RUN_BOUNDS_S[0], RUN_BOUNDS_S[-1], RUN_BOUNDS_S[-1] + 1):
        counters.count(done, seconds)
    assert counters.buckets[0] == 2
    assert counters.buckets[-2:] == [1, 1]


async def test_the_journal_keeps_inputs_to_itself() -> None:
    """Inputs are not logged unless the function says so (fault 20); results unless it says not."""
    ring = LogRing(ManualClock(), level="debug")
    async with workbench(quick, shown) as bench:
        bench.engine.journal = Journal(ring)
        for called, given in ((quick, b'{"secret":"s3cret"}'), (shown, b'{"word":"w0rd"}')):
            sink, _ = bench.submit(called, given)
            await sink.end()
    lines = "\n".join(ring.lines())
    assert "s3cret" not in lines
    assert "task_id=task-1" in lines
    assert "'quick' succeeded" in lines
    assert "hidden-w0rd" not in lines


async def test_the_journal_says_why_an_attempt_failed() -> None:
    """The code is on the line; what is below the level of the log is not kept."""
    ring = LogRing(ManualClock(), level="warn")
    async with workbench(quick) as bench:
        bench.engine.journal = Journal(ring)
        for given in (b'{"secret":1}', b"{}"):
            sink, _ = bench.submit(quick, given)
            await sink.end()
    (line,) = ring.lines()
    assert "invalid_params" in line


async def test_a_large_result_is_shortened_in_the_log() -> None:
    """A line shows its beginning and its size."""
    ring = LogRing(ManualClock())
    kept: list[dict[str, object]] = []
    async with workbench(long) as bench:
        bench.engine.journal = Journal(ring)
        follower = ring.subscribe(LogQuery(), lambda: None)
        assert isinstance(follower, Subscription)
        follower.offer = lambda entry: kept.append(entry.fields)
        sink, _ = bench.submit(long)
        await sink.end()
    assert str(kept[0]["result"]).endswith("… (5002 bytes)")


async def test_an_attempt_that_ended_is_freed_without_the_collector() -> None:
    """Nothing it refers to refers back to it, however it ran and ended; cycles cost every call."""
    async with workbench(quick, asks, blocks, sleeps) as bench:
        gc.collect()
        gc.disable()
        try:
            for each in (quick, asks, blocks):
                sink, _ = bench.submit(each)
                await sink.end()
            sink, task = bench.submit(sleeps)
            await turns(2)
            bench.engine.cancel(task.id)
            await sink.end()
            await wait_until(lambda: _attempts_in_memory() == 0, "every attempt is freed")
        finally:
            gc.enable()


async def test_the_task_of_the_loop_has_the_name_of_its_function() -> None:
    """What lists the tasks of a process (a debugger, a warning) shows whose they are."""
    async with workbench(named) as bench:
        sink, _ = bench.submit(named)
        assert (await sink.end()).result == b'"named"'


def _attempts_in_memory() -> int:
    return sum(type(each) is Attempt for each in gc.get_objects())
