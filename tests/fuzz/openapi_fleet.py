"""A worker and a balancer, linked and served by a thread of their own, for a client that blocks."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from shared.log import setup_logging
from shared.log_ring import LogRing
from shared.system import SystemClock
from tests.fakes.hook_receiver import hook_receiver
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import AUTH_KEY, LB_KEY
from tests.fakes.task_functions import echo, nothing, short, stream, stream_fail
from worker.app import Worker
from worker.authoring.discovery import discover
from worker.config import WorkerSettings

EXAMPLES = Path(__file__).parents[2] / "examples/functions"
TASK_TIMEOUT_MS = 150
START_S = 60.0  # a busy machine

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Where the processes listen.

    Attributes:
        urls: by the name of the process.
        hook: takes webhooks.
    """

    urls: dict[str, str]
    hook: str


KEYS = {"worker": AUTH_KEY, "balancer": LB_KEY}


@contextmanager
def served_fleet(folder: Path) -> Generator[Fleet]:
    """Serve a fleet while the context lasts.

    Args:
        folder: an empty one, for the balancer's files.
    """
    with _logs_as_json(), _loop_in_thread() as loop:
        context = _fleet(folder)
        fleet = _wait(loop, context.__aenter__())
        try:
            yield fleet
        finally:
            _wait(loop, context.__aexit__(None, None, None))


@contextmanager
def _logs_as_json() -> Generator[None]:
    """Log as a process does: what structlog prints by default costs more than a call."""
    handlers, level = list(logging.root.handlers), logging.root.level
    setup_logging(SystemClock(), stream=io.StringIO(), as_json=True, level="info")
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@contextmanager
def _loop_in_thread() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fleet")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_S)
        loop.close()


def _wait(loop: asyncio.AbstractEventLoop, doing: Coroutine[object, object, T]) -> T:
    return asyncio.run_coroutine_threadsafe(doing, loop).result(START_S)


@asynccontextmanager
async def _fleet(folder: Path) -> AsyncGenerator[Fleet]:
    store = f"sqlite:///{folder}/tasks.db"
    async with (
        hook_receiver() as receiver,
        _worker() as worker,
        running_balancer(
            folder, worker.url, store_url=store, task_timeout=TASK_TIMEOUT_MS,
            webhook_max_retries=0, webhook_timeout=500, resume_grace=1,
        ) as balancer,
    ):  # fmt: skip
        urls = {"worker": worker.url, "balancer": balancer.url}
        yield Fleet(urls, receiver.url())


@asynccontextmanager
async def _worker() -> AsyncGenerator[Worker]:
    """Run a worker that hosts the examples and a function for each other way in which a call can go."""
    found = discover(EXAMPLES)
    for each in (echo, nothing, short, stream, stream_fail):
        found.functions.add(each)
    given = {
        "port": 0, "auth_key": AUTH_KEY, "lb_auth_key": LB_KEY, "slots": 32,
        "task_timeout": TASK_TIMEOUT_MS, "default_timeout": TASK_TIMEOUT_MS,
        "webhook_max_retries": 0, "webhook_timeout": 500, "termination_grace": 0,
    }  # fmt: skip
    # No .env of whoever runs the tests; the values are checked by pydantic itself.
    values = WorkerSettings(_env_file=None, **given)  # pyright: ignore[reportCallIssue]
    clock = SystemClock()
    worker = Worker(values, found, LogRing(clock), clock)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
