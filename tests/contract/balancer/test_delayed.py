"""`delay_s`, `run_at`, `deadline_s` and `retry_on` of durable tasks, end to end on SQLite."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from shared.system import SystemClock
from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.in_process_balancer import JsonObject, RunningBalancer, running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import PLAIN, HeldWork
from tests.fakes.waiting import wait_until
from worker import Context, function

ASYNC = {"Prefer": "respond-async"}
SHELLS = pytest.mark.parametrize("chunked", [False, True], ids=["lane", "aiohttp"])


@function
async def budget(*, ctx: Context) -> float:
    """Tell how many seconds are left."""
    assert ctx.deadline is not None
    return (ctx.deadline - SystemClock().utc_now()).total_seconds()


@function(max_retries=2, retry_delay_s=0.01)
async def flaky(*, ctx: Context) -> int:
    """Fail twice."""
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return ctx.attempt


@pytest.fixture
def work() -> HeldWork:
    """Functions that wait until a test lets them go."""
    return HeldWork()


@pytest.fixture
async def hooks() -> AsyncGenerator[HookReceiver]:
    """Run a receiver of webhooks."""
    async with hook_receiver() as receiver:
        yield receiver


@pytest.fixture
async def balancer(tmp_path: Path, work: HeldWork) -> AsyncGenerator[RunningBalancer]:
    """Run a balancer on SQLite over one worker."""
    store = f"sqlite:///{tmp_path}/tasks.db"
    async with (
        running_worker(*PLAIN, budget, flaky, *work.functions()) as worker,
        running_balancer(tmp_path, worker.url, store_url=store) as running,
    ):
        yield running


def _moment(shown: JsonObject, name: str) -> datetime:
    return datetime.fromisoformat(str(shown[name]))


@SHELLS
async def test_a_delayed_task_starts_when_it_is_due(
    balancer: RunningBalancer, chunked: bool
) -> None:
    """Until then it is scheduled, and shows its moment; no earlier, and soon after."""
    reply = await balancer.task("hello", headers=ASYNC, delay_s=0.6, chunked=chunked)
    assert reply.status == 202
    waiting = await balancer.shown(reply.json["task_id"])
    assert waiting["status"] == "scheduled"
    due_at = _moment(waiting, "due_at")
    delay_s = (due_at - _moment(waiting, "created_at")).total_seconds()
    assert delay_s == pytest.approx(0.6, abs=0.002)
    ended = await balancer.ended(reply.json["task_id"])
    assert ended["status"] == "succeeded"
    assert "due_at" not in ended
    assert timedelta(milliseconds=-2) < _moment(ended, "started_at") - due_at < timedelta(seconds=2)


async def test_a_task_may_name_its_moment(balancer: RunningBalancer) -> None:
    """With any offset; one that has passed is now."""
    moment = SystemClock().utc_now() + timedelta(seconds=0.5)
    elsewhere = (moment + timedelta(hours=5, minutes=30)).replace(
        tzinfo=None
    ).isoformat() + "+05:30"
    later = await balancer.task("hello", headers=ASYNC, run_at=elsewhere)
    shown = await balancer.shown(later.json["task_id"])
    assert shown["status"] == "scheduled"
    assert abs(_moment(shown, "due_at") - moment) < timedelta(milliseconds=50)
    past = await balancer.task("hello", headers=ASYNC, run_at="2001-01-01T00:00:00Z")
    assert (await balancer.ended(past.json["task_id"]))["status"] == "succeeded"
    ended = await balancer.ended(later.json["task_id"])
    assert _moment(ended, "started_at") >= moment - timedelta(milliseconds=2)


async def test_a_scheduled_task_is_listed_and_can_be_cancelled(
    balancer: RunningBalancer, hooks: HookReceiver
) -> None:
    """It never runs, and its webhook says so."""
    reply = await balancer.task(
        "hold", {"label": "a"}, mode="webhook", webhook={"url": hooks.url()}, delay_s=3600
    )
    listed = (await balancer.ask("GET", "/tasks?status=scheduled")).json["tasks"]
    assert [each["task_id"] for each in listed] == [reply.json["task_id"]]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType] JSON
    cancelled = await balancer.ask("POST", f"/tasks/{reply.json['task_id']}/cancel")
    assert cancelled.status == 200
    assert (await balancer.shown(reply.json["task_id"]))["status"] == "cancelled"
    await wait_until(lambda: hooks.received, "the webhook comes")
    assert hooks.received[0].headers["x-cabrank-outcome"] == "cancelled"


@pytest.mark.parametrize("delay_s", [None, 60], ids=["queued", "scheduled"])
async def test_a_task_whose_deadline_passes_before_it_starts_expires(
    balancer: RunningBalancer, work: HeldWork, hooks: HookReceiver, delay_s: float | None
) -> None:
    """It is dropped, never begun, and its webhook tells it: no slot is spent on what is late."""
    blocking = [await balancer.task("hold", {"label": str(n)}, headers=ASYNC) for n in range(2)]
    await wait_until(lambda: work.running == 2, "both slots are taken")
    hook = {"url": hooks.url()}
    reply = await balancer.task(
        "hold", {"label": "late"}, mode="webhook", webhook=hook, deadline_s=0.2, delay_s=delay_s
    )
    ended = await balancer.ended(reply.json["task_id"])
    assert (ended["status"], ended["code"], ended["attempts"]) == ("expired", "expired", [])
    await wait_until(lambda: hooks.received, "the webhook comes")
    assert hooks.received[0].headers["x-cabrank-outcome"] == "timed_out"
    assert json.loads(hooks.received[0].body)["code"] == "expired"
    work.let_go()
    for each in blocking:
        await balancer.ended(each.json["task_id"])
    assert "late" not in work.begun


@SHELLS
async def test_a_call_that_expires_is_told_so(
    balancer: RunningBalancer, work: HeldWork, chunked: bool
) -> None:
    """Whoever waits for a durable task has its outcome, and has it again."""
    headers = {"Idempotency-Key": "k"}
    asked = {"headers": headers, "deadline_s": 0.2, "delay_s": 60, "chunked": chunked}
    first = await balancer.task("hold", {"label": "late"}, **asked)  # pyright: ignore[reportArgumentType] passed on
    assert (first.status, first.code) == (504, "expired")
    again = await balancer.task("hold", {"label": "late"}, **asked)  # pyright: ignore[reportArgumentType] passed on
    assert (again.status, again.body) == (first.status, first.body)
    assert work.begun == []


async def test_what_is_left_of_the_deadline_travels_to_the_function(
    balancer: RunningBalancer,
) -> None:
    """What it waited for its moment is taken off."""
    reply = await balancer.task(
        "budget", headers={"Prefer": "respond-async, wait=30"}, deadline_s=10, delay_s=0.5
    )
    assert reply.status == 200, reply.body
    assert 8 < float(str(reply.json["result"])) <= 9.55


async def test_a_delayed_call_with_a_key_is_answered_when_it_has_run(
    balancer: RunningBalancer,
) -> None:
    """Its deadline counts from its moment when it names none."""
    reply = await balancer.task("hello", headers={"Idempotency-Key": "k"}, delay_s=0.3)
    assert reply.status == 200
    (kept,) = (await balancer.ask("GET", "/tasks")).json["tasks"]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType] JSON
    assert kept["status"] == "succeeded"


@pytest.mark.parametrize(
    ("retry_on", "status", "attempts"),
    [
        (None, "succeeded", 3),
        (["function_error"], "succeeded", 3),
        (["timeout", "worker_lost"], "failed", 1),
    ],
)
async def test_only_the_codes_that_are_named_are_retried(
    balancer: RunningBalancer, retry_on: list[str] | None, status: str, attempts: int
) -> None:
    """Without a list those that another attempt may cure."""
    reply = await balancer.task("flaky", headers=ASYNC, retry_on=retry_on)
    ended = await balancer.ended(reply.json["task_id"])
    assert ended["status"] == status
    assert len(ended["attempts"]) == attempts  # pyright: ignore[reportArgumentType] JSON


async def test_codes_and_moments_survive_a_restart(tmp_path: Path) -> None:
    """The due time is on the wall clock: what fell due meanwhile starts at once, the rest when due."""
    store = f"sqlite:///{tmp_path}/tasks.db"
    async with running_worker(*PLAIN, flaky) as worker:
        async with running_balancer(tmp_path, worker.url, store_url=store) as before:
            early = await before.task("hello", headers=ASYNC, delay_s=0.1)
            late = await before.task("hello", headers=ASYNC, delay_s=3600)
            narrow = await before.task("flaky", headers=ASYNC, delay_s=0.1, retry_on=["timeout"])
            shown = await before.shown(late.json["task_id"])
        async with running_balancer(tmp_path, worker.url, store_url=store) as again:
            assert (await again.ended(early.json["task_id"]))["status"] == "succeeded"
            assert (await again.ended(narrow.json["task_id"]))["status"] == "failed"
            assert await again.shown(late.json["task_id"]) == shown
            assert shown["status"] == "scheduled"
            (waiting,) = again.balancer.engine.scheduler.tasks()
            assert waiting.due_s is not None
            left_s = waiting.due_s - again.balancer.engine.wall.mono_s
            assert 3500 < left_s <= 3600
