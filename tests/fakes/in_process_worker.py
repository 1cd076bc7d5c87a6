"""A whole worker in the test's own process, serving real sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.log_ring import LogRing
from shared.system import SystemClock
from worker import Function
from worker.app import Worker
from worker.authoring.discovery import Discovered
from worker.authoring.registry import Registry
from worker.config import WorkerSettings

if TYPE_CHECKING:
    from shared.clock import Clock

AUTH_KEY = "the-worker-key"
LB_KEY = "the-balancer-key"


async def start_worker(
    functions: Iterable[Function[..., object]], *, clock: Clock | None = None,
    ring: LogRing | None = None, **settings: object,
) -> Worker:  # fmt: skip
    """Start a worker that hosts these functions; the caller stops it.

    Args:
        functions: what it hosts.
        clock: the machine's unless another one is given.
        ring: the last lines of its log.
        settings: over the defaults, which are small and on loopback.
    """
    given = {"port": 0, "auth_key": AUTH_KEY, "lb_auth_key": LB_KEY, "slots": 2, **settings}
    # No .env of whoever runs the tests; the values are checked by pydantic itself.
    values = WorkerSettings(_env_file=None, **given)  # pyright: ignore[reportCallIssue]
    clock = clock or SystemClock()
    found = Discovered(functions=Registry(functions))
    worker = Worker(values, found, ring or LogRing(clock), clock)
    await worker.start()
    return worker


@asynccontextmanager
async def running_worker(
    *functions: Function[..., object], clock: Clock | None = None, ring: LogRing | None = None,
    **settings: object,
) -> AsyncGenerator[Worker]:  # fmt: skip
    """Run a worker while the context lasts."""
    worker = await start_worker(functions, clock=clock, ring=ring, **settings)
    try:
        yield worker
    finally:
        await worker.stop()
