"""`Idempotency-Key` on `POST /task`: the first answer again, byte for byte, or the task that still runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import pytest
from multidict import CIMultiDict

from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.in_process_balancer import JsonObject, Reply, RunningBalancer, running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import PLAIN, HeldWork
from tests.fakes.waiting import wait_until

KEY: Mapping[str, str] = {"Idempotency-Key": "order-1"}
SHELLS = pytest.mark.parametrize("chunked", [False, True], ids=["lane", "aiohttp"])


@pytest.fixture
def work() -> HeldWork:
    """Functions that wait until a test lets them go."""
    return HeldWork()


@pytest.fixture
async def balancer(tmp_path: Path, work: HeldWork) -> AsyncGenerator[RunningBalancer]:
    """Run a balancer on SQLite over one worker."""
    store = f"sqlite:///{tmp_path}/tasks.db"
    async with (
        running_worker(*PLAIN, *work.functions()) as worker,
        running_balancer(tmp_path, worker.url, store_url=store) as running,
    ):
        yield running


@pytest.fixture
async def hooks() -> AsyncGenerator[HookReceiver]:
    """Run a receiver of webhooks."""
    async with hook_receiver() as receiver:
        yield receiver


def _same(first: Reply, again: Reply) -> None:
    assert (again.status, again.body) == (first.status, first.body)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"


async def _tasks(balancer: RunningBalancer) -> list[JsonObject]:
    return json.loads((await balancer.ask("GET", "/tasks")).body)["tasks"]


@SHELLS
async def test_a_call_is_answered_as_any_call_and_again_the_same(
    balancer: RunningBalancer, chunked: bool
) -> None:
    """It ran once; the answer that comes again is the first one's, whichever shell it comes by."""
    first = await balancer.task("hello", {"name": "Ada"}, headers=KEY, chunked=chunked)
    assert first.status == 200
    assert first.json["result"] == {"message": "Hello Ada!"}
    for shell in (chunked, not chunked):
        again = await balancer.task("hello", {"name": "Ada"}, headers=KEY, chunked=shell)
        _same(first, again)
    (task,) = await _tasks(balancer)
    assert (task["task_id"], task["mode"], task["status"]) == (
        first.json["task_id"],
        "sync",
        "succeeded",
    )


@pytest.mark.parametrize(("function", "status"), [("fail", 500), ("short", 504), ("nothing", 200)])
async def test_an_end_of_any_kind_is_remembered(
    balancer: RunningBalancer, function: str, status: int
) -> None:
    """A failure of an accepted task is its answer, and is not tried again behind the caller's back."""
    first = await balancer.task(function, headers=KEY)
    assert first.status == status
    _same(first, await balancer.task(function, headers=KEY))
    assert len(await _tasks(balancer)) == 1


async def test_the_answer_is_the_first_one_in_msgpack_too(balancer: RunningBalancer) -> None:
    """Each caller has it in the form that it accepts."""
    packed = {**KEY, "Accept": "application/msgpack"}
    first = await balancer.task("hello", headers=packed)
    assert first.headers["Content-Type"] == "application/msgpack"
    _same(first, await balancer.task("hello", headers=packed))
    plain = await balancer.task("hello", headers=KEY)
    assert plain.json == first.content


@SHELLS
async def test_another_payload_under_the_same_key_is_a_conflict(
    balancer: RunningBalancer, chunked: bool
) -> None:
    """An equivalent one is none: order, white space and 1.0 for 1 do not matter."""
    body = b'{"group":"default","contract":1,"function":"slow","input":{"ms":1}}'
    same = b'{"input": {"ms": 1.0}, "function": "slow", "contract": 1, "priority": 1, "group": "default"}'
    other = b'{"group":"default","contract":1,"function":"slow","input":{"ms":2}}'
    headers = {"Authorization": "the-balancer-key", **KEY}

    async def post(data: bytes) -> Reply:
        return await balancer.ask("POST", "/task", headers=headers, data=data, chunked=chunked)

    first = await post(body)
    _same(first, await post(same))
    refused = await post(other)
    assert (refused.status, refused.code) == (409, "idempotency_conflict")


@SHELLS
async def test_a_webhook_task_is_accepted_once(
    balancer: RunningBalancer, hooks: HookReceiver, chunked: bool
) -> None:
    """The 202 comes again, its id and its Location too, and one webhook is sent."""
    hook = {"url": hooks.url()}
    first = await balancer.task("hello", headers=KEY, mode="webhook", webhook=hook, chunked=chunked)
    assert first.status == 202
    again = await balancer.task("hello", headers=KEY, mode="webhook", webhook=hook, chunked=chunked)
    _same(first, again)
    assert again.headers["Location"] == first.headers["Location"]
    await balancer.ended(first.json["task_id"])
    _same(first, await balancer.task("hello", headers=KEY, mode="webhook", webhook=hook))
    await wait_until(lambda: hooks.received, "the webhook comes")
    assert len(await _tasks(balancer)) == 1
    assert len(hooks.received) == 1


@SHELLS
async def test_a_repeated_call_joins_the_task_that_runs(
    balancer: RunningBalancer, work: HeldWork, chunked: bool
) -> None:
    """However many come, they have one answer; all but one are replays."""
    asking = [
        asyncio.create_task(
            balancer.task("hold", {"label": "a"}, headers=KEY, chunked=chunked == bool(n % 2))
        )
        for n in range(6)
    ]
    await wait_until(lambda: work.running, "it runs")
    await wait_until(lambda: len(balancer.balancer.engine.waiters) == 6, "all of them wait")
    work.let_go()
    replies = await asyncio.gather(*asking)
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert sum("Idempotency-Replayed" not in reply.headers for reply in replies) == 1
    assert len(await _tasks(balancer)) == 1
    assert not balancer.balancer.engine.waiters.by_task


@SHELLS
async def test_a_caller_that_leaves_does_not_cancel_its_task(
    balancer: RunningBalancer, work: HeldWork, chunked: bool
) -> None:
    """It comes back with its key and has the answer."""
    leaving = asyncio.create_task(
        balancer.task("hold", {"label": "a"}, headers=KEY, chunked=chunked)
    )
    await wait_until(lambda: work.running, "it runs")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await wait_until(lambda: not len(balancer.balancer.engine.waiters), "nobody waits")
    (task,) = await _tasks(balancer)
    assert task["status"] == "running"
    coming_back = asyncio.create_task(
        balancer.task("hold", {"label": "a"}, headers=KEY, chunked=chunked)
    )
    await wait_until(lambda: len(balancer.balancer.engine.waiters), "somebody waits")
    work.let_go()
    reply = await coming_back
    assert (reply.status, reply.json["task_id"]) == (200, task["task_id"])


@SHELLS
async def test_a_refusal_is_not_remembered(balancer: RunningBalancer, chunked: bool) -> None:
    """The key is free for the request that is put right."""
    for function, given, status in (
        ("nope", None, 404),
        ("slow", {"ms": "x"}, 400),
        ("slow", {"ms": 0}, 400),
    ):
        refused = await balancer.task(function, given, headers=KEY, chunked=chunked)
        assert refused.status == status, refused.body
    assert (await balancer.task("slow", {"ms": 1}, headers=KEY, chunked=chunked)).status == 200
    assert len(await _tasks(balancer)) == 1


async def test_a_webhook_that_may_not_be_sent_is_refused_and_forgotten(tmp_path: Path) -> None:
    """The key is free for another request."""
    hook = {"url": "http://127.0.0.1:1/nobody"}
    async with (
        running_worker(*PLAIN) as worker,
        running_balancer(tmp_path, worker.url, webhook_allow_private=False) as balancer,
    ):
        refused = await balancer.task("hello", headers=KEY, mode="webhook", webhook=hook)
        assert (refused.status, refused.code) == (400, "invalid_webhook")
        assert (await balancer.task("hello", headers=KEY)).status == 200


async def test_two_keys_are_none(balancer: RunningBalancer) -> None:
    """Header lines of one name are one list, and a list is no key."""
    twice = CIMultiDict(
        [("Authorization", "the-balancer-key"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    )
    body = b'{"group":"default","contract":1,"function":"hello"}'
    refused = await balancer.ask("POST", "/task", headers=twice, data=body)
    assert (refused.status, refused.code) == (400, "invalid_field")
