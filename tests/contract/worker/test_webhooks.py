"""Mode webhook on a worker that is asked directly (contract §2 "Webhook delivery")."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from shared.webhooks import parse_secrets, verify
from tests.contract.worker.running import AS_CLIENT, JsonObject, running_worker
from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.waiting import wait_until
from worker import function

QUICK = {"webhook_retry_delay": 1}
SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()


@function
async def hello(name: str = "World") -> dict[str, str]:
    """Greets someone."""
    return {"message": f"Hello {name}!"}


@function
async def fail() -> None:
    """Raises."""
    raise RuntimeError("boom")


HOSTED = (hello, fail)


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncGenerator[HookReceiver]:
    """Receive webhooks; answer with these statuses first."""
    async with hook_receiver() as receiver:
        receiver.script += statuses
        yield receiver


def _task(receiver: HookReceiver, name: str = "hello", **webhook: object) -> JsonObject:
    return {"function": name, "mode": "webhook", "webhook": {"url": receiver.url(), **webhook}}


async def test_the_function_runs_and_the_hook_gets_the_bare_result() -> None:
    """The caller hears `Sent to webhook`; the hook gets Andera's body under our headers."""
    async with receiving() as receiver, running_worker(HOSTED) as worker:
        reply = await worker.task(_task(receiver))
    said = {"success": True, "message": "Sent to webhook", "task_id": reply.json["task_id"]}
    assert (reply.status, reply.json) == (200, said)
    (hook,) = receiver.received
    assert json.loads(hook.body) == {"message": "Hello World!"}
    assert hook.headers["content-type"] == "application/json"
    assert hook.headers["x-cabrank-outcome"] == "succeeded"
    assert hook.headers["webhook-id"]
    assert hook.headers["webhook-timestamp"].isdigit()


async def test_a_hook_that_refuses_is_tried_again_and_then_given_up() -> None:
    """Four tries of one id; then 502 with Andera's text."""
    async with receiving(*[503] * 9) as receiver, running_worker(HOSTED, **QUICK) as worker:
        reply = await worker.task(_task(receiver))
    text = (
        "Failed to send webhook: Failed to send webhook after 4 attempts: "
        "Request failed with status code 503"
    )
    assert (reply.status, reply.code, reply.json["error"]) == (502, "webhook_failed", text)
    assert len(receiver.received) == 4
    assert len({hook.headers["webhook-id"] for hook in receiver.received}) == 1


async def test_a_hook_that_recovers_is_a_success() -> None:
    """A retry that arrives counts."""
    async with receiving(500, 204) as receiver, running_worker(HOSTED, **QUICK) as worker:
        assert (await worker.task(_task(receiver))).status == 200
    assert len(receiver.received) == 2


async def test_a_receiver_that_is_gone_is_not_asked_again() -> None:
    """410 stops."""
    async with receiving(410) as receiver, running_worker(HOSTED, **QUICK) as worker:
        assert (await worker.task(_task(receiver))).status == 502
    assert len(receiver.received) == 1


async def test_nobody_there_is_502() -> None:
    """A refused connection is told in the words that Andera's callers know."""
    async with receiving() as receiver:
        pass
    async with running_worker(HOSTED, webhook_max_retries=0, **QUICK) as worker:
        reply = await worker.task(_task(receiver))
    assert (reply.status, reply.code) == (502, "webhook_failed")
    assert "connect ECONNREFUSED 127.0.0.1:" in str(reply.json["error"])


async def test_a_failed_function_is_told_to_the_hook_too() -> None:
    """The hook gets an envelope that never looks like a result; the caller gets the failure."""
    async with receiving() as receiver, running_worker(HOSTED) as worker:
        reply = await worker.task({**_task(receiver, "fail"), "metadata": {"a": 1}})
    assert (reply.status, reply.json["error"]) == (500, "boom")
    (hook,) = receiver.received
    body = json.loads(hook.body)
    assert hook.headers["x-cabrank-outcome"] == "failed"
    assert body.pop("finished_at").endswith("Z")
    assert body == {
        "task_id": reply.json["task_id"], "status": "failed", "error": "boom",
        "code": "function_error", "metadata": {"a": 1}, "attempt": 1,
    }  # fmt: skip


async def test_an_envelope_is_sent_when_it_is_asked_for() -> None:
    """`webhook.envelope: true` wraps successes too."""
    async with receiving() as receiver, running_worker(HOSTED) as worker:
        await worker.task(_task(receiver, envelope=True))
    body = json.loads(receiver.received[0].body)
    assert (body["status"], body["result"]) == ("succeeded", {"message": "Hello World!"})


async def test_a_parameter_that_is_wrong_is_told_to_the_caller_only() -> None:
    """Nothing ran, so there is no outcome to deliver."""
    async with receiving() as receiver, running_worker(HOSTED) as worker:
        reply = await worker.task({**_task(receiver), "input": {"k": 1}})
    assert (reply.status, reply.code, receiver.received) == (400, "invalid_params", [])


async def test_headers_of_the_task_win_over_those_of_the_worker() -> None:
    """Defaults, then WEBHOOK_HEADERS, then the task's own; the last one stands."""
    ours = '{"x-a": "worker", "x-b": "worker"}'
    async with receiving() as receiver, running_worker(HOSTED, webhook_headers=ours) as worker:
        await worker.task(_task(receiver, headers={"X-A": "task"}))
    headers = receiver.received[0].headers
    assert (headers["x-a"], headers["x-b"]) == ("task", "worker")


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Connection", "Transfer-Encoding"])
async def test_headers_of_the_connection_are_refused(name: str) -> None:
    """What belongs to the connection is not the caller's to set."""
    async with receiving() as receiver, running_worker(HOSTED) as worker:
        reply = await worker.task(_task(receiver, headers={name: "x"}))
    assert (reply.status, reply.code, receiver.received) == (400, "invalid_webhook", [])


async def test_deliveries_are_signed() -> None:
    """With WEBHOOK_SECRET the signature fits the Standard Webhooks rules."""
    async with receiving() as receiver, running_worker(HOSTED, webhook_secret=SECRET) as worker:
        await worker.task(_task(receiver))
    (hook,) = receiver.received
    now_s = float(hook.headers["webhook-timestamp"])
    assert verify(parse_secrets(SECRET), hook.headers, hook.body, now_s=now_s) is None


async def test_private_addresses_are_refused_before_anything_runs() -> None:
    """The guard speaks when the task comes, not after the work is done."""
    async with (
        receiving() as receiver,
        running_worker(HOSTED, webhook_allow_private=False) as worker,
    ):
        reply = await worker.task(_task(receiver))
        began = worker.worker.engine.counters.began
    text = "Invalid webhook.url: 127.0.0.1 leads to a loopback address"
    assert (reply.status, reply.code, reply.json["error"]) == (400, "invalid_webhook", text)
    assert (began, receiver.received) == (0, [])


async def test_an_allowed_network_may_be_reached() -> None:
    """WEBHOOK_ALLOW opens what the guard closes."""
    guard = {"webhook_allow_private": False, "webhook_allow": "127.0.0.0/8"}
    async with receiving() as receiver, running_worker(HOSTED, **guard) as worker:
        assert (await worker.task(_task(receiver))).status == 200


async def test_no_slot_is_held_while_the_hook_is_tried() -> None:
    """The only slot is free for the next task during the backoff."""
    patient = {"slots": 1, "webhook_retry_delay": 60_000}
    async with receiving(503) as receiver, running_worker(HOSTED, **patient) as worker:
        waiting = asyncio.create_task(worker.task(_task(receiver)))
        await wait_until(lambda: receiver.received, "the first try was made")
        assert worker.used() == 0
        assert (await worker.task({"function": "hello"})).status == 200
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_caller_that_leaves_changes_nothing() -> None:
    """The task goes on, and its hook is told."""
    gate = asyncio.Event()

    @function
    async def gated() -> str:
        await gate.wait()
        return "done"

    async with receiving() as receiver, running_worker([gated]) as worker:
        caller = asyncio.create_task(worker.task(_task(receiver, "gated")))
        await wait_until(lambda: worker.used() == 1, "the function runs")
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        gate.set()
        await wait_until(lambda: receiver.received, "the hook was told")
        assert receiver.received[0].body == b'"done"'


async def test_too_many_are_refused() -> None:
    """Results that wait for their hooks are bounded like the queue."""
    async with receiving(*[503] * 9) as receiver:
        tight = {"slots": 1, "max_queue": 0, "webhook_retry_delay": 60_000}
        async with running_worker(HOSTED, **tight) as worker:
            waiting = asyncio.create_task(worker.task(_task(receiver)))
            await wait_until(lambda: receiver.received, "the first try was made")
            reply = await worker.task(_task(receiver))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    assert (reply.status, reply.code) == (429, "queue_full")
    assert int(reply.headers["Retry-After"]) >= 1


async def test_draining_waits_for_hooks() -> None:
    """`/off?wait=` says drained only when the last hook was told or given up."""
    async with (
        receiving(*[503] * 9) as receiver,
        running_worker(HOSTED, webhook_retry_delay=60_000) as worker,
    ):
        waiting = asyncio.create_task(worker.task(_task(receiver)))
        await wait_until(lambda: receiver.received, "the first try was made")
        late = await worker.ask("POST", "/off?wait=0.05", headers=AS_CLIENT)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert late.json["drained"] is False


async def test_hooks_are_counted() -> None:
    """`/metrics` tells tries, arrivals and failures."""
    async with receiving(500, 204) as receiver, running_worker(HOSTED, **QUICK) as worker:
        await worker.task(_task(receiver))
        text = (await worker.ask("GET", "/metrics")).body.decode()
    assert "cabrank_worker_webhook_tries_total 2.0" in text
    assert "cabrank_worker_webhooks_delivered_total 1.0" in text
