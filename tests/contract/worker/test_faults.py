"""The faults of the ancestor that concern a worker (contract §9), each a test."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.contract.worker.running import AS_CLIENT, JsonObject, RunningWorker, running_worker
from tests.fakes.waiting import wait_until
from worker import Context, function


class Gate:
    """Lets functions through one by one, and knows how many are inside."""

    def __init__(self) -> None:
        self.inside = 0
        self.order: list[str] = []
        self._open = asyncio.Event()

    async def pass_through(self, name: str) -> None:
        """Wait inside until the gate is open."""
        self.order.append(name)
        self.inside += 1
        try:
            await self._open.wait()
        finally:
            self.inside -= 1

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()


def _stream(name: str) -> JsonObject:
    return {"function": name, "mode": "stream"}


async def _leave(caller: asyncio.Task[object]) -> None:
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)


async def test_fault_05_stream_that_raises_after_first_piece_does_not_kill_the_worker() -> None:
    """The client sees a broken transfer and the worker answers the next call."""

    @function(streaming=True)
    async def part(*, ctx: Context) -> None:
        await ctx.stream("part1\n")
        raise RuntimeError("mid")

    async with running_worker([part], slots=1) as worker:
        for _ in range(3):
            with pytest.raises(aiohttp.ClientPayloadError):
                await worker.task(_stream("part"))
        assert worker.used() == 0
        assert (await worker.ask("GET", "/health")).status == 200


async def test_fault_06_tasks_queued_before_off_finish() -> None:
    """What waited when maintenance began runs and is answered, without any `/on`."""
    gate = Gate()

    @function
    async def gated(name: str) -> str:
        await gate.pass_through(name)
        return name

    async with running_worker([gated], slots=1) as worker:
        calls = [
            asyncio.create_task(worker.task({"function": "gated", "input": {"name": name}}))
            for name in "abc"
        ]
        await wait_until(lambda: worker.worker.engine.slots().queue == 2, "two tasks wait")
        assert (await worker.ask("POST", "/off")).json["status"] == "maintenance"
        assert (await worker.task({"function": "gated", "input": {"name": "d"}})).status == 503
        gate.open()
        replies = await asyncio.gather(*calls)
        assert [reply.json["result"] for reply in replies] == ["a", "b", "c"]
        assert gate.order == ["a", "b", "c"]


async def test_fault_07_a_gzip_client_gets_each_piece_at_once() -> None:
    """Nothing is compressed, so nothing is held back until the end."""
    gate = asyncio.Event()

    @function
    async def gated() -> AsyncIterator[str]:
        yield "one"
        await gate.wait()
        yield "two"

    headers = {**AS_CLIENT, "Accept-Encoding": "gzip, deflate, br"}
    async with running_worker([gated]) as worker:
        body = json.dumps({"contract": 1, **_stream("gated")}).encode()
        async with worker.session.post(f"{worker.url}/task", headers=headers, data=body) as asked:
            assert "Content-Encoding" not in asked.headers
            assert await asked.content.readany() == b"one"
            gate.set()
            assert await asked.content.read() == b"two"


async def test_fault_08_a_refused_stream_is_not_200() -> None:
    """A stream that cannot begin has the status of its refusal."""

    @function
    async def plain() -> None:
        """Cannot stream."""

    async with running_worker([plain]) as worker:
        cannot = await worker.task(_stream("plain"))
        unknown = await worker.task(_stream("nope"))
        await worker.ask("POST", "/off")
        closed = await worker.task(_stream("plain"))
    assert [reply.status for reply in (cannot, unknown, closed)] == [400, 404, 503]


async def test_fault_09_a_task_without_priority_does_not_outrank_priority_1() -> None:
    """It has priority 1, and equal priorities are first come first served."""
    gate = Gate()

    @function
    async def gated(name: str) -> None:
        await gate.pass_through(name)

    asked: list[JsonObject] = [{}, {"priority": 5}, {"priority": 1}, {}, {"priority": 1.5}]
    async with running_worker([gated], slots=1) as worker:
        calls: list[asyncio.Task[object]] = []
        for place, more in enumerate(asked):
            body = {"function": "gated", "input": {"name": str(place)}, **more}
            calls.append(asyncio.create_task(worker.task(body)))
            await wait_until(lambda: _taken(worker) == len(calls), "the task was taken")
        gate.open()
        await asyncio.gather(*calls)
    assert gate.order == ["0", "2", "3", "4", "1"]


def _taken(worker: RunningWorker) -> int:
    return worker.worker.engine.counters.direct


async def test_fault_11_a_stream_holds_a_slot() -> None:
    """While it streams, its slot is used; after it, it is free."""
    gate = Gate()

    @function
    async def gated() -> AsyncIterator[str]:
        yield "one"
        await gate.pass_through("stream")

    async with running_worker([gated], slots=1) as worker:
        call = asyncio.create_task(worker.task(_stream("gated")))
        await wait_until(lambda: gate.inside == 1, "the stream runs")
        slots = (await worker.health())["slots"]
        assert slots == {"used": 1, "available": 0, "limit": 1, "queue": 0}
        gate.open()
        await call
        assert worker.used() == 0


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_fault_12_a_client_that_leaves_cancels_its_task(mode: str) -> None:
    """The code is stopped and the slot is free."""
    gate = Gate()

    @function(streaming=True)
    async def gated(*, ctx: Context) -> None:
        await ctx.stream("one")
        await gate.pass_through("x")

    async with running_worker([gated], slots=1) as worker:
        caller: asyncio.Task[object] = asyncio.create_task(
            worker.task({"function": "gated", "mode": mode})
        )
        await wait_until(lambda: gate.inside == 1, "the function runs")
        await _leave(caller)
        await wait_until(lambda: gate.inside == 0, "the function was cancelled")
        await wait_until(lambda: worker.used() == 0, "the slot is free")


async def test_fault_12_a_client_that_leaves_the_queue_is_not_run() -> None:
    """A task whose caller left before it began never begins."""
    gate = Gate()

    @function
    async def gated(name: str) -> None:
        await gate.pass_through(name)

    async with running_worker([gated], slots=1) as worker:
        first = asyncio.create_task(worker.task({"function": "gated", "input": {"name": "a"}}))
        await wait_until(lambda: gate.inside == 1, "the first one runs")
        second: asyncio.Task[object] = asyncio.create_task(
            worker.task({"function": "gated", "input": {"name": "b"}})
        )
        await wait_until(lambda: worker.worker.engine.slots().queue == 1, "the second one waits")
        await _leave(second)
        await wait_until(lambda: worker.worker.engine.slots().queue == 0, "it left the queue")
        gate.open()
        await first
    assert gate.order == ["a"]


async def test_fault_13_a_timed_out_thread_keeps_its_slot_until_it_ends() -> None:
    """The caller hears `Timeout` at once; nobody else gets the slot while the code goes on."""
    released = threading.Event()

    @function(timeout_s=0.1)
    def blocks() -> None:
        released.wait()

    async with running_worker([blocks], slots=1) as worker:
        reply = await worker.task({"function": "blocks"})
        assert (reply.status, reply.json["error"], reply.code) == (504, "Timeout", "timeout")
        slots = (await worker.health())["slots"]
        assert slots == {"used": 1, "available": 0, "limit": 1, "queue": 0}
        released.set()
        await wait_until(lambda: worker.used() == 0, "the slot is free when the code has ended")


async def test_fault_13_a_timed_out_coroutine_is_cancelled() -> None:
    """Its code ends, and then its slot is free."""
    gate = Gate()

    @function(timeout_s=0.1)
    async def gated() -> None:
        await gate.pass_through("x")

    async with running_worker([gated], slots=1) as worker:
        assert (await worker.task({"function": "gated"})).status == 504
        await wait_until(lambda: gate.inside == 0, "the code was cancelled")
        await wait_until(lambda: worker.used() == 0, "the slot is free")


async def test_fault_20_inputs_are_not_logged_in_clear() -> None:
    """Only a function that says `log_input=True` shows its input, and only its own."""

    @function(log_result=False)
    async def quiet(name: str) -> str:
        return name

    @function(log_input=True)
    async def open_(name: str) -> None:
        """Has nothing to hide."""

    async with running_worker([quiet, open_]) as worker:
        await worker.task({"function": "quiet", "input": {"name": "s3cret-a"}})
        await worker.task({"function": "open_", "input": {"name": "plain-b"}})
        shown = "plain-b"

        async def lines() -> str:
            return (await worker.ask("GET", "/logs?level=debug")).body.decode()

        async def is_shown() -> bool:
            return shown in await lines()

        await wait_until(is_shown, "the input that may be shown is in the log")
        assert "s3cret-a" not in await lines()


async def test_a_full_queue_is_429_at_once() -> None:
    """Past MAX_QUEUE the answer says when to come back."""
    gate = Gate()

    @function
    async def gated(name: str = "x") -> None:
        await gate.pass_through(name)

    async with running_worker([gated], slots=1, max_queue=1) as worker:
        calls = [asyncio.create_task(worker.task({"function": "gated"})) for _ in range(2)]
        await wait_until(lambda: worker.worker.engine.slots().queue == 1, "the queue is full")
        reply = await worker.task({"function": "gated"})
        said = (reply.status, reply.json["error"], reply.code)
        assert said == (429, "Queue is full", "queue_full")
        assert int(reply.headers["Retry-After"]) >= 1
        gate.open()
        assert [each.status for each in await asyncio.gather(*calls)] == [200, 200]


async def test_a_deadline_limits_waiting_too() -> None:
    """A task that finds no slot by its deadline is told so."""
    gate = Gate()

    @function
    async def gated(name: str = "x") -> None:
        await gate.pass_through(name)

    async with running_worker([gated], slots=1) as worker:
        first = asyncio.create_task(worker.task({"function": "gated"}))
        await wait_until(lambda: gate.inside == 1, "the slot is taken")
        reply = await worker.task({"function": "gated", "deadline_s": 0.1})
        assert (reply.status, reply.code) == (504, "queue_timeout")
        gate.open()
        await first


async def test_a_worker_retries_direct_tasks() -> None:
    """`max_attempts` of the task wins over the function's own."""
    tries: list[int] = []

    @function(retry_delay_s=0.001)
    async def flaky(*, ctx: Context) -> int:
        tries.append(ctx.attempt)
        if len(tries) < 3:
            raise RuntimeError("not yet")
        return len(tries)

    async with running_worker([flaky]) as worker:
        reply = await worker.task({"function": "flaky", "max_attempts": 3})
    assert (reply.json["result"], tries) == (3, [1, 2, 3])
