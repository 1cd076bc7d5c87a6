"""Contract §5: every row of the balancer's own table, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from balancer.fleet.names import addresses_of
from tests.fakes.in_process_balancer import JsonObject, Reply, RunningBalancer, running_balancer
from tests.fakes.in_process_worker import running_worker, start_worker
from tests.fakes.task_functions import HeldWork, hello
from tests.fakes.tcp_proxy import tcp_proxy
from tests.fakes.waiting import wait_until

HOOK = {"url": "http://127.0.0.1:9/x"}


@asynccontextmanager
async def held_fleet(
    directory: Path, *, slots: int = 1, idempotent: bool = False, **settings: object
) -> AsyncGenerator[tuple[RunningBalancer, HeldWork]]:
    """Run a balancer over one worker whose calls last until they are let go."""
    work = HeldWork()
    hosted = (hello, *work.functions(idempotent=idempotent))
    async with (
        running_worker(*hosted, slots=slots) as worker,
        running_balancer(
            directory, worker.url, linked=1, clock=None, ring=None, resolve=addresses_of, **settings
        ) as balancer,
    ):
        yield balancer, work


async def test_a_durable_task_is_accepted_with_its_place(balancer: RunningBalancer) -> None:
    """202, Andera's text, the task's id and where to look for it; the store has it by then."""
    reply = await balancer.task("hello", mode="webhook", webhook=HOOK)
    told = reply.json
    task_id = told.pop("task_id")
    assert (reply.status, told) == (
        202,
        {"success": True, "message": "Task accepted, result will be sent to webhook"},
    )
    assert reply.headers["Location"] == f"/tasks/{task_id}"
    shown = await balancer.ask("GET", reply.headers["Location"])
    assert (shown.status, shown.json["task_id"]) == (200, task_id)


async def test_respond_async_keeps_the_result(balancer: RunningBalancer) -> None:
    """`Prefer: respond-async` makes a durable task without a webhook: its result is kept."""
    reply = await balancer.task("hello", headers={"Prefer": "respond-async"})
    assert reply.status == 202
    ended = await balancer.ended(reply.json["task_id"])
    assert (ended["status"], ended["result"]) == ("succeeded", {"message": "Hello World!"})
    assert "webhook" not in ended


async def test_calls_before_the_first_round_wait_for_it(tmp_path: Path) -> None:
    """A call that comes before the worker was found is served, not refused with 404."""
    async with (
        running_worker(hello) as worker,
        running_balancer(tmp_path, worker.url, linked=0) as balancer,
    ):
        assert not balancer.balancer.fleet.round_ended
        replies = await asyncio.gather(*(balancer.task("hello") for _ in range(5)))
        assert [reply.status for reply in replies] == [200] * 5


async def test_until_the_first_round_has_ended_nothing_is_unknown(tmp_path: Path) -> None:
    """While a listed worker has not answered, a call waits and a durable task is taken; then 404."""
    async with running_worker(hello) as worker, tcp_proxy(worker.url) as silent:
        silent.freeze()
        async with running_balancer(
            tmp_path, worker.url, silent.url, linked=1, worker_discovery_timeout=300
        ) as balancer:
            assert not balancer.balancer.fleet.round_ended
            call = asyncio.create_task(balancer.task("nope"))
            kept = await balancer.task("nope", mode="webhook", webhook=HOOK)
            assert kept.status == 202
            assert not call.done()
            refused = await call
            assert (refused.status, refused.code) == (404, "function_not_found")
            assert balancer.balancer.fleet.round_ended
            assert (await balancer.shown(kept.json["task_id"]))["status"] == "queued"
            unknown = await balancer.task("nope", mode="webhook", webhook=HOOK)
            assert (unknown.status, unknown.code) == (404, "function_not_found")


async def test_a_group_that_cannot_be_known_yet_is_not_400(tmp_path: Path) -> None:
    """Without a group, and before the round has ended, a caller is told to come back."""
    async with running_worker(hello) as worker, tcp_proxy(worker.url) as silent:
        silent.freeze()
        async with running_balancer(
            tmp_path, silent.url, linked=0, worker_discovery_timeout=10_000
        ) as balancer:
            reply = await balancer.task("hello", group=None)
            assert (reply.status, reply.code) == (503, "no_worker_available")
            assert int(reply.headers["Retry-After"]) >= 1


async def test_hosts_that_are_away_give_503_with_retry_after(tmp_path: Path) -> None:
    """Calls wait NO_WORKER_WAIT for a host to come back, later ones get 503 at once."""
    worker = await start_worker([hello])
    async with running_balancer(tmp_path, worker.url, no_worker_wait=100) as balancer:
        await worker.stop()
        fleet = balancer.balancer.fleet
        await wait_until(lambda: fleet.workers()[0].status == "unreachable", "the worker is gone")
        waited = await balancer.task("hello")
        at_once = await balancer.task("hello")
        for reply in (waited, at_once):
            assert (reply.status, reply.code) == (503, "no_worker_available")
            assert int(reply.headers["Retry-After"]) >= 1
        durable = await balancer.task("hello", mode="webhook", webhook=HOOK)
        assert durable.status == 202


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_all_slots_busy_until_the_deadline_is_504(tmp_path: Path, mode: str) -> None:
    """A call that gets no slot by its deadline is told so, and never runs."""
    async with held_fleet(tmp_path) as (balancer, work):
        first = asyncio.create_task(balancer.task("hold", {"label": "first"}))
        await wait_until(lambda: work.begun, "the slot is taken")
        reply = await balancer.task("hold_stream", {"label": "late"}, mode=mode, deadline_s=0.1)
        assert (reply.status, reply.code) == (504, "queue_timeout")
        assert reply.json["error"] == "No slot became free in time"
        work.let_go()
        assert (await first).status == 200
        assert work.begun == ["first"]


async def test_queue_timeout_bounds_the_wait_alone(tmp_path: Path) -> None:
    """QUEUE_TIMEOUT limits the wait for a slot, not the run."""
    async with held_fleet(tmp_path, queue_timeout=100) as (balancer, work):
        first = asyncio.create_task(balancer.task("hold", {"label": "first"}))
        await wait_until(lambda: work.begun, "the slot is taken")
        late = await balancer.task("hold", {"label": "late"})
        assert (late.status, late.code) == (504, "queue_timeout")
        assert not first.done()
        work.let_go()
        assert (await first).status == 200


async def test_a_running_task_ends_at_its_deadline(tmp_path: Path) -> None:
    """A call whose function runs past deadline_s gets 504, and its code is cancelled."""
    async with held_fleet(tmp_path) as (balancer, work):
        reply = await balancer.task("hold", {"label": "x"}, deadline_s=0.1)
        assert (reply.status, reply.code) == (504, "timeout")
        await wait_until(lambda: work.cancelled == ["x"], "its code has ended")


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_a_full_lane_is_429_at_once(tmp_path: Path, mode: str) -> None:
    """Past MAX_QUEUE a call is refused with Retry-After; a durable task is not: it is on disk."""
    async with held_fleet(tmp_path, max_queue=1) as (balancer, work):
        scheduler = balancer.balancer.engine.scheduler
        calls: list[asyncio.Task[Reply]] = []
        for label in ("runs", "waits"):
            calls.append(asyncio.create_task(balancer.task("hold_stream", {"label": label})))
            await wait_until(lambda: scheduler.counts().tasks == len(calls), f"{label} is held")
        reply = await balancer.task("hold_stream", {"label": "no"}, mode=mode)
        assert (reply.status, reply.json["error"], reply.code) == (
            429,
            "Queue is full",
            "queue_full",
        )
        assert int(reply.headers["Retry-After"]) >= 1
        kept = await balancer.task(
            "hold_stream", {"label": "kept"}, headers={"Prefer": "respond-async"}
        )
        assert kept.status == 202
        work.let_go()
        await asyncio.gather(*calls)
        assert (await balancer.ended(kept.json["task_id"]))["status"] == "succeeded"


async def test_bytes_that_wait_are_bounded(tmp_path: Path) -> None:
    """Past MAX_QUEUE_BYTES of inputs that wait, a call is refused as well."""
    async with held_fleet(tmp_path, max_queue_bytes=100) as (balancer, work):
        first = asyncio.create_task(balancer.task("hold", {"label": "runs"}))
        await wait_until(lambda: work.begun, "the slot is taken")
        reply = await balancer.task("hold", {"label": "x" * 200})
        assert (reply.status, reply.code) == (429, "queue_full")
        work.let_go()
        assert (await first).status == 200


async def test_max_durable_bounds_what_is_kept(tmp_path: Path) -> None:
    """Past MAX_DURABLE unfinished durable tasks another one is refused until one ends."""
    async with held_fleet(tmp_path, max_durable=1) as (balancer, work):
        durable = {"Prefer": "respond-async"}
        first = await balancer.task("hold", {"label": "a"}, headers=durable)
        second = await balancer.task("hold", {"label": "b"}, headers=durable)
        assert (first.status, second.status, second.code) == (202, 429, "queue_full")
        work.let_go()
        await balancer.ended(first.json["task_id"])
        assert (await balancer.task("hold", {"label": "c"}, headers=durable)).status == 202


async def test_a_lost_worker_is_502(tmp_path: Path) -> None:
    """A call whose worker stays away past RESUME_WINDOW gets 502, as soon as it counts as lost."""
    work = HeldWork()
    async with (
        running_worker(*work.functions()) as worker,
        tcp_proxy(worker.url) as network,
        running_balancer(tmp_path, network.url, resume_window=100) as balancer,
    ):
        call = asyncio.create_task(balancer.task("hold", {"label": "x"}))
        await wait_until(lambda: work.begun, "it runs")
        network.cut()
        reply = await call
        assert (reply.status, reply.code) == (502, "worker_lost")
        assert reply.json["error"] == "Worker was lost while it ran the task"
        # The worker knows the window too, and does not go on for nobody.
        await wait_until(lambda: work.cancelled == ["x"], "the worker has given it up")


async def test_a_short_cut_loses_nothing(tmp_path: Path) -> None:
    """Within RESUME_WINDOW the link is resumed, and the attempt goes on: it runs once."""
    work = HeldWork()
    async with (
        running_worker(*work.functions()) as worker,
        tcp_proxy(worker.url) as network,
        running_balancer(tmp_path, network.url, resume_window=5000) as balancer,
    ):
        call = asyncio.create_task(balancer.task("hold", {"label": "x"}))
        await wait_until(lambda: work.begun, "it runs")
        fleet = balancer.balancer.fleet
        network.cut()
        await wait_until(lambda: fleet.workers()[0].status == "unreachable", "it was noticed")
        work.let_go()  # it ends while the link is down
        network.heal()
        reply = await call
        assert (reply.status, reply.json["result"]) == (200, "x")
        assert work.begun == ["x"]


async def test_an_idempotent_function_is_run_elsewhere(tmp_path: Path) -> None:
    """When the worker of an idempotent function is lost, another one gets the call."""
    first, second = HeldWork(), HeldWork()
    async with (
        running_worker(*first.functions(idempotent=True)) as one,
        running_worker(*second.functions(idempotent=True)) as two,
        tcp_proxy(one.url) as network,
        running_balancer(tmp_path, network.url, two.url, resume_window=100) as balancer,
    ):
        call = asyncio.create_task(balancer.task("hold", {"label": "x"}))
        await wait_until(lambda: first.begun or second.begun, "it runs")
        if second.begun:  # placed there: the same with the roles changed needs no proxy
            second.let_go()
        else:
            network.cut()
            await wait_until(lambda: second.begun == ["x"], "it was given to the other one")
            second.let_go()
        reply = await call
        assert (reply.status, reply.json["result"]) == (200, "x")


async def test_a_cancelled_call_is_409(tmp_path: Path) -> None:
    """`POST /tasks/{id}/cancel` ends a running call with 409, and the code on the worker."""
    async with held_fleet(tmp_path) as (balancer, work):
        call = asyncio.create_task(balancer.task("hold", {"label": "x"}))
        await wait_until(lambda: work.begun, "it runs")
        (task,) = balancer.balancer.engine.scheduler.tasks()
        cancelled = await balancer.ask("POST", f"/tasks/{task.id}/cancel")
        assert (cancelled.status, cancelled.json) == (
            200,
            {"success": True, "task_id": task.id, "status": "cancelled"},
        )
        reply = await call
        assert (reply.status, reply.json["error"], reply.code) == (
            409,
            "Task was cancelled",
            "cancelled",
        )
        await wait_until(lambda: work.cancelled == ["x"], "its code has ended")
        again = await balancer.ask("POST", f"/tasks/{task.id}/cancel")
        assert (again.status, again.code) == (409, "task_finished")
        assert again.json["error"] == "Task has already ended: cancelled"


async def test_a_cancelled_durable_task_shows_so_at_once(tmp_path: Path) -> None:
    """What the cancel answered is what the next look shows: the answer waits for the commit."""
    async with held_fleet(tmp_path, store_url=f"sqlite:///{tmp_path}/c.db") as (balancer, work):
        durable = {"Prefer": "respond-async"}
        kept = await balancer.task("hold", {"label": "x"}, headers=durable)
        task_id = kept.json["task_id"]
        await wait_until(lambda: work.begun, "it runs")
        assert (await balancer.ask("POST", f"/tasks/{task_id}/cancel")).status == 200
        shown = await balancer.shown(task_id)
        assert (shown["status"], shown["code"]) == ("cancelled", "cancelled")


async def test_shutting_down_refuses_with_503(balancer: RunningBalancer) -> None:
    """A balancer that stops takes nothing new, in any mode."""
    balancer.balancer.engine.stop_taking()
    ways: tuple[JsonObject, ...] = ({}, {"mode": "webhook", "webhook": HOOK}, {"mode": "stream"})
    for how in ways:
        reply = await balancer.task("hello", more=how)
        assert (reply.status, reply.code) == (503, "shutting_down")
        assert int(reply.headers["Retry-After"]) >= 1
