"""Fault 11: a stream holds no slot."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import HeldWork
from tests.fakes.waiting import wait_until


async def test_a_stream_holds_its_slot_until_its_code_has_ended(tmp_path: Path) -> None:
    """While a stream runs on the only slot, a call waits; it runs when the stream has ended."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        async with balancer.stream("hold_stream", {"label": "stream"}) as reply:
            assert await reply.content.readline() == b"stream\n"
            call = asyncio.create_task(balancer.task("hold", {"label": "call"}))
            scheduler = balancer.balancer.engine.scheduler
            await wait_until(lambda: scheduler.counts().waiting == 1, "the call waits")
            shown = (await balancer.workers())[0]["slots"]
            assert shown == {"used": 1, "available": 0, "limit": 1, "queue": 0}
            assert work.begun == ["stream"]
            work.let_go()
            await reply.read()
        assert (await call).status == 200
        assert work.begun == ["stream", "call"]
