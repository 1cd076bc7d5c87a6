"""Fault 18: discovery is sequential: one black-holed host blocks a round for 35 s."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import hello
from tests.fakes.tcp_proxy import tcp_proxy
from tests.fakes.waiting import wait_until


async def test_a_black_holed_host_delays_nobody(tmp_path: Path) -> None:
    """Hosts that take connections and say nothing hold up neither the others nor a reload."""
    async with (
        running_worker(hello) as one,
        running_worker(hello) as two,
        tcp_proxy(one.url) as hole,
        tcp_proxy(one.url) as other_hole,
    ):
        hole.freeze()
        other_hole.freeze()
        entries = (hole.url, other_hole.url, one.url)
        async with (
            asyncio.timeout(5),
            running_balancer(
                tmp_path, *entries, linked=1, worker_discovery_timeout=25_000
            ) as balancer,
        ):
            assert (await balancer.task("hello")).status == 200
            balancer.list_workers(*entries, two.url)
            await balancer.linked(2)
            assert hole.opened >= 1
            assert [worker["status"] for worker in await balancer.workers()] == [
                "unreachable",
                "unreachable",
                "ready",
                "ready",
            ]
            balancer.list_workers(one.url)
            fleet = balancer.balancer.fleet
            await wait_until(lambda: len(fleet.workers()) == 1, "the others are dropped at once")
