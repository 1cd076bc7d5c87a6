"""Chapter 2: calling functions, in the three modes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cabrank import Chunk, Client, Context, Progress, TaskTimeout, Webhook, function
from tests.fakes.hook_receiver import hook_receiver
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.small_fleet import small_fleet
from tests.fakes.waiting import wait_until


@function
async def greet(name: str = "World") -> dict[str, str]:
    """Greet."""
    return {"message": f"Hello {name}!"}


@function
async def spell(word: str, *, ctx: Context) -> AsyncIterator[str]:
    """Spell a word, and tell how far it is."""
    for n, letter in enumerate(word, start=1):
        ctx.progress(n, len(word))
        yield letter


@function
async def forever() -> None:
    """Never end by itself."""
    await asyncio.Event().wait()


async def test_sync_the_answer_comes_in_the_same_call(tmp_path: Path) -> None:
    """`call` waits for a slot and for the function, and returns what it returned."""
    async with small_fleet(tmp_path, greet) as client:
        assert await client.call("greet", name="Ada") == {"message": "Hello Ada!"}


async def test_stream_the_answer_comes_piece_by_piece(tmp_path: Path) -> None:
    """Each `yield` is a chunk that is there at once; progress comes between; the result at the end."""
    async with small_fleet(tmp_path, spell) as client:
        events = [event async for event in client.stream("spell", word="hi")]
    assert [event.value for event in events if isinstance(event, Chunk)] == ["h", "i"]
    assert [event.fraction for event in events if isinstance(event, Progress)] == [0.5, 1.0]


async def test_webhook_the_answer_is_posted_to_a_url(tmp_path: Path) -> None:
    """`submit` returns as soon as the task is safe; its result goes to the URL, under a stable id."""
    async with hook_receiver() as hooks, small_fleet(tmp_path, greet) as client:
        task_id = await client.submit("greet", name="Ada", webhook=hooks.url())
        await wait_until(lambda: hooks.received, "the webhook comes")
    [received] = hooks.received
    assert json.loads(received.body) == {"message": "Hello Ada!"}
    assert task_id in received.headers["webhook-id"]
    assert received.headers["x-cabrank-outcome"] == "succeeded"


async def test_a_webhook_tells_of_failures_too(tmp_path: Path) -> None:
    """Whoever waits for a webhook never waits in vain: what fails is told, with its code."""
    async with hook_receiver() as hooks, small_fleet(tmp_path, forever) as client:
        await client.submit("forever", webhook=hooks.url(), deadline_s=0.1)
        await wait_until(lambda: hooks.received, "the webhook comes")
    told = json.loads(hooks.received[0].body)
    assert (told["status"], told["code"]) == ("timed_out", "timeout")
    assert hooks.received[0].headers["x-cabrank-outcome"] == "timed_out"


async def test_an_envelope_tells_more_than_the_result(tmp_path: Path) -> None:
    """`envelope` wraps results as failures are: with the task's id, its status and your metadata."""
    async with hook_receiver() as hooks, small_fleet(tmp_path, greet) as client:
        target = Webhook(url=hooks.url(), envelope=True)
        task_id = await client.submit("greet", webhook=target, metadata={"order": 7})
        await wait_until(lambda: hooks.received, "the webhook comes")
    told = json.loads(hooks.received[0].body)
    assert (told["task_id"], told["status"]) == (task_id, "succeeded")
    assert (told["result"], told["metadata"]) == ({"message": "Hello World!"}, {"order": 7})


async def test_the_result_can_be_asked_for_later(tmp_path: Path) -> None:
    """Without a webhook the result is kept; `wait` returns the task when it has ended."""
    async with small_fleet(tmp_path, greet) as client:
        task = await client.wait(await client.submit("greet", name="Ada"))
    assert task.value() == {"message": "Hello Ada!"}
    assert [attempt.outcome for attempt in task.attempts] == ["succeeded"]


async def test_a_task_can_be_cancelled(tmp_path: Path) -> None:
    """The function is told, its slot is free again, and the task says what became of it."""
    async with small_fleet(tmp_path, forever) as client:
        task_id = await client.submit("forever")
        await client.cancel(task_id)
        assert (await client.status(task_id)).status == "cancelled"


async def test_a_call_ends_by_its_deadline(tmp_path: Path) -> None:
    """`deadline_s` limits the whole call, waiting included: there is always an answer."""
    async with small_fleet(tmp_path, forever) as client:
        with pytest.raises(TaskTimeout):
            await client.call("forever", deadline_s=0.1)


async def test_code_without_a_loop_calls_too(tmp_path: Path) -> None:
    """`Client.sync` has the same methods, for scripts and threads."""

    def script(url: str) -> object:
        with Client.sync(url, key=LB_KEY) as client:
            pieces = [
                event.value
                for event in client.stream("spell", word="ok")
                if isinstance(event, Chunk)
            ]
            return client.call("greet"), pieces

    async with (
        running_worker(greet, spell) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        said = await asyncio.to_thread(script, balancer.url)
    assert said == ({"message": "Hello World!"}, ["o", "k"])
