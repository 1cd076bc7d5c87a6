"""Fault 12: a client that leaves is never noticed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import HeldWork
from tests.fakes.waiting import wait_until


@pytest.mark.parametrize("chunked", [False, True], ids=["fast lane", "aiohttp"])
async def test_a_caller_that_leaves_ends_its_call(tmp_path: Path, chunked: bool) -> None:
    """The code is cancelled, its slot is free again, and what waited runs."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        leaving = asyncio.create_task(balancer.task("hold", {"label": "left"}, chunked=chunked))
        await wait_until(lambda: work.begun == ["left"], "it runs")
        waiting = asyncio.create_task(balancer.task("hold", {"label": "next"}))
        leaving.cancel()
        await wait_until(lambda: work.begun == ["left", "next"], "the slot went to the next one")
        assert work.cancelled == ["left"]
        work.let_go()
        assert (await waiting).status == 200
        (task,) = [each for each in balancer.balancer.engine.recent.newest() if each.failure]
        assert task.failure is not None
        assert task.failure.code == "cancelled"


@pytest.mark.parametrize("chunked", [False, True], ids=["fast lane", "aiohttp"])
async def test_a_caller_that_leaves_the_queue_is_not_run(tmp_path: Path, chunked: bool) -> None:
    """A call that waits is taken out of its queue when its caller goes."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        first = asyncio.create_task(balancer.task("hold", {"label": "first"}))
        await wait_until(lambda: work.begun, "the slot is taken")
        leaving = asyncio.create_task(balancer.task("hold", {"label": "left"}, chunked=chunked))
        scheduler = balancer.balancer.engine.scheduler
        await wait_until(lambda: scheduler.counts().waiting == 1, "it waits")
        leaving.cancel()
        await wait_until(lambda: scheduler.counts().waiting == 0, "it has left the queue")
        work.let_go()
        assert (await first).status == 200
        assert (await balancer.task("hold", {"label": "last"})).status == 200
        assert work.begun == ["first", "last"]


@pytest.mark.parametrize("accept", ["text/plain", "application/x-ndjson"])
async def test_a_reader_that_leaves_ends_its_stream(tmp_path: Path, accept: str) -> None:
    """A stream whose reader is gone is cancelled (an SSE reader has RESUME_GRACE to come back)."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        async with balancer.stream(
            "hold_stream", {"label": "left"}, headers={"Accept": accept}
        ) as reply:
            await reply.content.readany()
            reply.close()
        await wait_until(lambda: work.cancelled == ["left"], "its code has ended")
        await wait_until(lambda: worker.engine.slots().available == 1, "its slot is free")


async def test_a_durable_task_goes_on_without_its_caller(tmp_path: Path) -> None:
    """Who was told 202 may leave: the task is not the connection's."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        kept = await balancer.task(
            "hold", {"label": "x"}, headers={"Prefer": "respond-async", "Connection": "close"}
        )
        work.let_go()
        assert (await balancer.ended(kept.json["task_id"]))["status"] == "succeeded"
