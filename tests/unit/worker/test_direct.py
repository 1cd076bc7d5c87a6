"""Direct tasks: the worker's own queue, retries, deadlines, cancellation."""

from __future__ import annotations

import asyncio

from shared.errors import Failure
from shared.task import Mode
from shared.task_state import TaskStatus
from tests.fakes.waiting import wait_until
from tests.unit.worker.workbench import RecordingSink, turns, workbench
from worker import Context, function


class World:
    """What the functions below did, and the door they wait at."""

    door: asyncio.Event
    order: list[str]
    failures_left = 0


def fresh_world() -> None:
    """Forget what earlier tests did; on the test's loop."""
    World.door = asyncio.Event()
    World.order = []
    World.failures_left = 0


@function
async def waits(name: str = "") -> str:
    """Waits at the door."""
    World.order.append(name)
    await World.door.wait()
    return name


@function(max_retries=3, retry_delay_s=8)
async def flaky(*, ctx: Context) -> int:
    """Fails as often as the test wants."""
    World.order.append(ctx.attempt_token)
    if World.failures_left:
        World.failures_left -= 1
        raise ValueError("not yet")
    return ctx.attempt


@function(max_retries=3, streaming=True)
async def flaky_stream(*, ctx: Context) -> None:
    """Fails after its first piece."""
    World.order.append("ran")
    await ctx.stream("piece")
    raise ValueError("too late to try again")


def _code(sink: RecordingSink) -> str | None:
    failure = sink.outcomes[0].failure
    return None if failure is None else failure.code


async def test_direct_tasks_queue_by_priority_then_first_come() -> None:
    """When every slot is taken, the most urgent is next, and equals go in order."""
    fresh_world()
    async with workbench(waits, limit=1) as bench:
        for name, priority in (("first", 9), ("c", 5), ("a", 1), ("b", 1)):
            bench.submit(waits, f'{{"name":"{name}"}}'.encode(), priority=priority)
        assert bench.engine.slots().queue == 3
        World.door.set()
        await wait_until(lambda: bench.engine.idle, "all have run")
    assert World.order == ["first", "a", "b", "c"]


async def test_a_full_queue_refuses_at_once() -> None:
    """Past MAX_QUEUE the answer is queue_full with the time to come back."""
    fresh_world()
    async with workbench(waits, limit=1, max_queue=1) as bench:
        bench.submit(waits)
        bench.submit(waits)
        _, refused = bench.try_submit(waits)
        assert isinstance(refused, Failure)
        assert (refused.code, refused.status) == ("queue_full", 429)
        assert refused.retry_after_s
        assert bench.engine.counters.queue_full == 1
        World.door.set()


async def test_the_queue_is_bounded_in_bytes() -> None:
    """Past MAX_QUEUE_BYTES too; what starts at once needs no room."""
    fresh_world()
    async with workbench(waits, limit=1, max_queue_bytes=20) as bench:
        bench.submit(waits, b'{"name":"longer than twenty bytes"}')
        bench.submit(waits, b'{"name":"eightee"}')
        assert bench.engine.direct.queued_bytes == 18
        _, refused = bench.try_submit(waits, b'{"name":"x"}')
        assert isinstance(refused, Failure)
        assert refused.code == "queue_full"
        World.door.set()


async def test_without_a_queue_a_free_slot_still_takes_a_task() -> None:
    """MAX_QUEUE=0 lets none wait."""
    fresh_world()
    async with workbench(waits, limit=1, max_queue=0) as bench:
        bench.submit(waits)
        _, refused = bench.try_submit(waits)
        assert isinstance(refused, Failure)
        World.door.set()


async def test_what_waited_before_maintenance_finishes() -> None:
    """`/off` refuses new tasks; running and waiting ones end all the same (fault 6)."""
    fresh_world()
    async with workbench(waits, limit=1) as bench:
        sinks = [bench.submit(waits)[0] for _ in range(3)]
        bench.engine.set_maintenance(True)
        _, refused = bench.try_submit(waits)
        assert isinstance(refused, Failure)
        assert refused.code == "maintenance"
        World.door.set()
        assert await bench.engine.drained(5)
        assert [sink.outcomes[0].ok for sink in sinks] == [True, True, True]
        assert bench.engine.slots().available == 0
        bench.engine.set_maintenance(False)
        assert bench.engine.slots().available == 1


async def test_drained_is_false_when_it_is_late() -> None:
    """A drain that does not come to its end says so."""
    fresh_world()
    async with workbench(waits) as bench:
        assert await bench.engine.drained(0)
        bench.submit(waits)
        assert not await bench.engine.drained(0.01)
        World.door.set()


async def test_a_service_that_is_down_holds_direct_tasks_back() -> None:
    """They wait, and start when it is up."""
    fresh_world()
    World.door.set()
    async with workbench(waits) as bench:
        bench.engine.set_services_down(True)
        sink, _ = bench.submit(waits)
        await turns()
        assert World.order == []
        bench.engine.set_services_down(False)
        assert (await sink.end()).ok


async def test_a_failed_attempt_is_tried_again_after_a_growing_wait() -> None:
    """max_retries more, each attempt with a token of its own; the outcome says how many (fault 2)."""
    fresh_world()
    World.failures_left = 2
    async with workbench(flaky) as bench:
        sink, _ = bench.submit(flaky)
        await wait_until(lambda: bench.engine.slots().queue == 1, "the retry waits")
        assert bench.engine.slots().used == 0
        bench.pass_time(8)
        await wait_until(lambda: bench.engine.counters.retried == 2, "the second retry waits")
        bench.pass_time(16)
        outcome = await sink.end()
        assert (outcome.result, outcome.attempts) == (b"3", 3)
        assert len(set(World.order)) == 3


async def test_attempts_are_limited() -> None:
    """After the last one the failure is the outcome, and counts as one."""
    fresh_world()
    World.failures_left = 99
    async with workbench(flaky) as bench:
        sink, _ = bench.submit(flaky, max_attempts=2)
        await wait_until(lambda: bench.engine.counters.retried == 1, "the retry waits")
        bench.pass_time(8)
        outcome = await sink.end()
        assert (outcome.status, outcome.attempts) == (TaskStatus.FAILED, 2)
        assert bench.engine.counters.function("flaky").failed == 2


async def test_a_stream_that_showed_a_piece_is_not_tried_again() -> None:
    """Its reader would get the beginning twice."""
    fresh_world()
    async with workbench(flaky_stream) as bench:
        sink, _ = bench.submit(flaky_stream, mode=Mode.STREAM)
        assert not (await sink.end()).ok
        assert World.order == ["ran"]


async def test_a_wrong_input_is_not_tried_again() -> None:
    """The caller's mistake stays one."""
    fresh_world()
    async with workbench(flaky) as bench:
        sink, _ = bench.submit(flaky, b'{"k":1}')
        assert _code(sink) == "invalid_params"


async def test_a_deadline_in_the_queue_is_queue_timeout() -> None:
    """A task that finds no slot in time never runs, and its caller is told why."""
    fresh_world()
    async with workbench(waits, limit=1) as bench:
        bench.submit(waits)
        sink, _ = bench.submit(waits, deadline_s=3)
        bench.pass_time(2.9)
        assert sink.outcomes == []
        bench.pass_time(0.1)
        assert sink.outcomes[0].status is TaskStatus.TIMED_OUT
        assert _code(sink) == "queue_timeout"
        World.door.set()


async def test_a_deadline_while_running_is_a_time_out() -> None:
    """The limit of the whole call ends the run; no attempt follows."""
    fresh_world()
    async with workbench(waits, limit=1, task_timeout_s=4) as bench:
        sink, _ = bench.submit(waits, timeout_s=60, max_attempts=5)
        await turns()
        bench.pass_time(4)
        assert _code(sink) == "timeout"
        await turns()


async def test_a_deadline_during_the_backoff_is_a_time_out() -> None:
    """Waiting for another attempt does not go beyond the call's limit."""
    fresh_world()
    World.failures_left = 9
    async with workbench(flaky) as bench:
        sink, _ = bench.submit(flaky, deadline_s=0.01)
        await wait_until(lambda: bench.engine.counters.retried == 1, "the retry waits")
        bench.pass_time(0.01)
        assert _code(sink) == "timeout"
        assert sink.outcomes[0].attempts == 1


async def test_cancelling_ends_a_task_wherever_it_is() -> None:
    """Waiting, in backoff or running; a second time it is not known any more."""
    fresh_world()
    World.failures_left = 1
    async with workbench(waits, flaky, limit=1) as bench:
        retrying_sink, retrying = bench.submit(flaky)
        await wait_until(lambda: bench.engine.counters.retried == 1, "the retry waits")
        running_sink, running = bench.submit(waits)
        waiting_sink, waiting = bench.submit(waits)
        for task in (retrying, waiting, running):
            assert bench.engine.cancel(task.id, "caller left")
            assert not bench.engine.cancel(task.id)
        for sink in (retrying_sink, running_sink, waiting_sink):
            assert sink.outcomes[0].status is TaskStatus.CANCELLED
        await turns()
        assert bench.engine.slots().queue == 0


async def test_many_tasks_that_fail_at_once_do_not_pile_up_on_the_stack() -> None:
    """A thousand waiting tasks with a wrong input end one after the other."""
    fresh_world()
    async with workbench(waits, limit=1, max_queue=2000) as bench:
        bench.submit(waits)
        sinks = [bench.submit(waits, b'{"wrong":1}')[0] for _ in range(1500)]
        World.door.set()
        await wait_until(lambda: bench.engine.idle, "all have ended")
        assert all(_code(sink) == "invalid_params" for sink in sinks)


async def test_an_unknown_function_is_refused() -> None:
    """What is not hosted here is not found."""
    async with workbench(waits) as bench:
        _, refused = bench.try_submit(flaky)
        assert isinstance(refused, Failure)
        assert (refused.code, refused.message) == (
            "function_not_found",
            "Function 'flaky' not found",
        )


async def test_closing_fails_what_waits_and_ends_what_runs() -> None:
    """Everybody who waits is told; nothing new is taken."""
    fresh_world()
    async with workbench(waits, limit=1) as bench:
        running, _ = bench.submit(waits)
        waiting, _ = bench.submit(waits)
        await turns()
        await bench.engine.close()
        assert [_code(running), _code(waiting)] == ["shutting_down", "shutting_down"]
        _, refused = bench.try_submit(waits)
        assert isinstance(refused, Failure)
        assert refused.code == "shutting_down"
