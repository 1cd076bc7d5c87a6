"""A balancer, one worker and a client in the test's own process, for tests that read as a tutorial."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from cabrank import Client, Function
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker


@asynccontextmanager
async def small_fleet(
    folder: Path, *functions: Function[..., object], slots: int = 2, max_queue: int = 10_000
) -> AsyncGenerator[Client]:
    """Run a fleet of these functions while the context lasts; yields a client of it.

    Args:
        folder: where its workers.json is.
        functions: what it hosts.
        slots: of its worker.
        max_queue: of its balancer.
    """
    async with (
        running_worker(*functions, slots=slots) as worker,
        running_balancer(folder, worker.url, max_queue=max_queue) as balancer,
        Client(balancer.url, key=LB_KEY, retries=0) as client,
    ):
        yield client
