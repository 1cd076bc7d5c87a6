"""Fault 5: a stream that raises after its first piece kills the worker."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import PLAIN


async def test_the_worker_lives_on_and_the_reader_sees_a_broken_transfer(tmp_path: Path) -> None:
    """Only this stream ends; the worker keeps its process, its link and its slots."""
    async with (
        running_worker(*PLAIN, slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        boot = balancer.balancer.fleet.workers()[0].boot
        for _ in range(3):
            async with balancer.stream("stream_fail", {"pieces": ["a"]}) as reply:
                assert reply.status == 200
                with pytest.raises(aiohttp.ClientPayloadError):
                    await reply.read()
        assert (await balancer.task("hello")).status == 200
        assert balancer.balancer.fleet.workers()[0].boot == boot
