"""Mode webhook, end to end on SQLite: accepted after the commit, delivered, signed, retried, given up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from balancer.fleet.names import addresses_of
from shared.system import SystemClock
from shared.webhooks import parse_secrets, verify
from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.in_process_balancer import JsonObject, RunningBalancer, running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import PLAIN, HeldWork
from tests.fakes.waiting import wait_until

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


@asynccontextmanager
async def hooked(
    directory: Path, work: HeldWork | None = None, **settings: object
) -> AsyncGenerator[tuple[RunningBalancer, HookReceiver]]:
    """Run a balancer on SQLite over one worker, and a receiver of webhooks."""
    hosted = PLAIN if work is None else (*PLAIN, *work.functions())
    values = {"store_url": f"sqlite:///{directory}/tasks.db", "webhook_retry_delay": 10, **settings}
    async with (
        hook_receiver() as receiver,
        running_worker(*hosted) as worker,
        running_balancer(
            directory, worker.url, linked=1, clock=None, ring=None, resolve=addresses_of, **values
        ) as balancer,
    ):
        yield balancer, receiver


async def _submit(
    balancer: RunningBalancer,
    receiver: HookReceiver,
    function: str = "hello",
    given: JsonObject | None = None,
    *,
    hook: JsonObject | None = None,
    **members: object,
) -> str:
    webhook = {"url": receiver.url(), **(hook or {})}
    reply = await balancer.task(
        function, given, headers={"x-correlation-id": "trace"}, mode="webhook", webhook=webhook,
        more=members,
    )  # fmt: skip
    assert reply.status == 202, reply.body
    return str(reply.json["task_id"])


async def _webhook(balancer: RunningBalancer, task_id: str, status: str) -> JsonObject:
    """Wait until a task's webhook has a status; return it."""

    async def look() -> JsonObject | None:
        shown = cast("JsonObject", (await balancer.shown(task_id)).get("webhook") or {})
        return shown if shown.get("status") == status else None

    return cast("JsonObject", await wait_until(look, f"the webhook of {task_id} is {status}"))


async def test_the_bare_result_is_delivered_signed(tmp_path: Path) -> None:
    """Standard Webhooks over the bare result, with the headers of settings and caller."""
    headers = {"x-a": "settings", "x-b": "settings"}
    async with hooked(tmp_path, webhook_secret=SECRET, webhook_headers=json.dumps(headers)) as (
        balancer,
        receiver,
    ):
        task_id = await _submit(balancer, receiver, hook={"headers": {"X-B": "caller"}})
        assert await _webhook(balancer, task_id, "delivered") == {
            "status": "delivered",
            "attempts": 1,
            "next_at": None,
        }
        (got,) = receiver.received
        assert got.body == b'{"message":"Hello World!"}'
        assert got.headers["content-type"] == "application/json"
        assert (got.headers["x-a"], got.headers["x-b"]) == ("settings", "caller")
        assert got.headers["x-cabrank-outcome"] == "succeeded"
        assert got.headers["x-correlation-id"] == "trace"
        assert got.headers["webhook-id"] == f"msg_{task_id}"
        now_s = SystemClock().utc_now().timestamp()
        assert verify(parse_secrets(SECRET), got.headers, got.body, now_s=now_s) is None


async def test_an_envelope_tells_the_whole_outcome(tmp_path: Path) -> None:
    """`webhook.envelope` sends status, result, metadata, attempt and time."""
    async with hooked(tmp_path) as (balancer, receiver):
        task_id = await _submit(balancer, receiver, hook={"envelope": True}, metadata={"who": "me"})
        await _webhook(balancer, task_id, "delivered")
        told = cast("JsonObject", json.loads(receiver.received[0].body))
        finished_at = told.pop("finished_at")
        assert str(finished_at).endswith("Z")
        assert told == {
            "task_id": task_id, "status": "succeeded", "result": {"message": "Hello World!"},
            "metadata": {"who": "me"}, "attempt": 1,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "outcome", "code"),
    [("fail", "failed", "function_error"), ("short", "timed_out", "timeout")],
)
async def test_a_failure_is_told_too_and_never_looks_like_a_result(
    tmp_path: Path, function: str, outcome: str, code: str
) -> None:
    """A function that fails sends the envelope, whatever was asked for, and says so in a header."""
    async with hooked(tmp_path) as (balancer, receiver):
        task_id = await _submit(balancer, receiver, function)
        await _webhook(balancer, task_id, "delivered")
        (got,) = receiver.received
        told = cast("JsonObject", json.loads(got.body))
        assert (told["task_id"], told["status"], told["code"]) == (task_id, outcome, code)
        assert got.headers["x-cabrank-outcome"] == outcome


async def test_a_cancelled_task_tells_its_webhook(tmp_path: Path) -> None:
    """Whoever waits for the webhook hears of the cancel."""
    work = HeldWork()
    async with hooked(tmp_path, work) as (balancer, receiver):
        task_id = await _submit(balancer, receiver, "hold", {"label": "x"})
        await wait_until(lambda: work.begun, "it runs")
        await balancer.ask("POST", f"/tasks/{task_id}/cancel")
        await _webhook(balancer, task_id, "delivered")
        assert receiver.received[0].headers["x-cabrank-outcome"] == "cancelled"


async def test_tries_follow_each_other_under_one_id(tmp_path: Path) -> None:
    """503 is tried again with the same webhook-id; the task shows the tries."""
    async with hooked(tmp_path) as (balancer, receiver):
        receiver.script = [503, 500]
        task_id = await _submit(balancer, receiver)
        shown = await _webhook(balancer, task_id, "delivered")
        assert shown["attempts"] == 3
        assert [got.headers["webhook-id"] for got in receiver.received] == [f"msg_{task_id}"] * 3


@pytest.mark.parametrize(
    ("script", "tries"), [([503] * 9, 4), ([410], 1)], ids=["given up after 4", "410 stops"]
)
async def test_what_cannot_be_delivered_is_a_visible_dead_letter(
    tmp_path: Path, script: list[int], tries: int
) -> None:
    """After WEBHOOK_MAX_RETRIES tries more, or at 410, the webhook is dead; the result stays."""
    async with hooked(tmp_path) as (balancer, receiver):
        receiver.script = list(script)
        task_id = await _submit(balancer, receiver)
        dead = await _webhook(balancer, task_id, "dead")
        assert (dead["attempts"], dead["next_at"]) == (tries, None)
        assert len(receiver.received) == tries
        shown = await balancer.shown(task_id)
        assert (shown["status"], shown["result"]) == ("succeeded", {"message": "Hello World!"})


async def test_no_slot_is_held_meanwhile(tmp_path: Path) -> None:
    """A receiver that hangs holds up its webhook and nothing else."""
    async with hooked(tmp_path) as (balancer, receiver):
        receiver.gate = asyncio.Event()
        for _ in range(4):
            await _submit(balancer, receiver)
        await wait_until(lambda: receiver.at_once == 4, "all four hang")
        fleet = balancer.balancer.fleet
        await wait_until(
            lambda: (report := fleet.workers()[0].report) is not None and report.used == 0,
            "no slot is held",
        )
        assert (await balancer.task("hello")).status == 200
        receiver.gate.set()
        await wait_until(lambda: receiver.at_once == 0, "all are answered")


async def test_forbidden_addresses_are_refused_at_once(tmp_path: Path) -> None:
    """With private addresses forbidden such a webhook is 400, before anything runs."""
    async with hooked(tmp_path, webhook_allow_private=False) as (balancer, receiver):
        reply = await balancer.task("hello", mode="webhook", webhook={"url": receiver.url()})
        assert (reply.status, reply.code) == (400, "invalid_webhook")
        assert str(reply.json["error"]).startswith("Invalid webhook.url: ")
        assert receiver.received == []


async def test_a_large_input_goes_through_the_store(tmp_path: Path) -> None:
    """An input over 64 KiB is left in the store and read again for its attempt."""
    async with hooked(tmp_path) as (balancer, receiver):
        text = "é" * 80_000
        task_id = await _submit(balancer, receiver, "echo", {"text": text})
        await _webhook(balancer, task_id, "delivered")
        assert json.loads(receiver.received[0].body) == text


async def test_deadlines_of_durable_tasks_hold(tmp_path: Path) -> None:
    """A durable task that gets no slot by its deadline expires, and tells so."""
    work = HeldWork()
    async with hooked(tmp_path, work) as (balancer, receiver):
        for label in ("a", "b"):
            await balancer.task("hold", {"label": label}, headers={"Prefer": "respond-async"})
        await wait_until(lambda: len(work.begun) == 2, "the slots are taken")
        task_id = await _submit(balancer, receiver, "hold", {"label": "late"}, deadline_s=0.1)
        ended = await balancer.ended(task_id)
        assert (ended["status"], ended["code"]) == ("expired", "expired")
        await _webhook(balancer, task_id, "delivered")
        assert receiver.received[0].headers["x-cabrank-outcome"] == "timed_out"
        assert "late" not in work.begun
