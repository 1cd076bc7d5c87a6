"""Fault 20: inputs are always logged in clear."""

from __future__ import annotations

import io
import logging
from collections.abc import Generator
from pathlib import Path

import pytest
import structlog

from shared.log import setup_logging
from shared.log_ring import LogRing
from shared.system import SystemClock
from tests.fakes.hook_receiver import hook_receiver
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import AUTH_KEY, LB_KEY, running_worker
from tests.fakes.task_functions import PLAIN
from tests.fakes.waiting import wait_until

SECRET = "four-score-and-seven"


@pytest.fixture
def log() -> Generator[tuple[io.StringIO, LogRing]]:
    """Set the real logging up at its most talkative, and put back what was before."""
    handlers, level = list(logging.root.handlers), logging.root.level
    out = io.StringIO()
    yield out, setup_logging(SystemClock(), level="debug", stream=out, as_json=True)
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


async def test_no_log_line_shows_an_input(tmp_path: Path, log: tuple[io.StringIO, LogRing]) -> None:
    """Whatever happens to a task, neither process writes its input or a key, even at debug.

    A result is shown unless its function says `log_result=False` (contract §4), as `echo` does.
    """
    out, ring = log
    async with (
        hook_receiver() as receiver,
        running_worker(*PLAIN, ring=ring) as worker,
        running_balancer(tmp_path, worker.url, ring=ring) as balancer,
    ):
        await balancer.task("echo", {"text": SECRET})
        await balancer.task("echo", {"text": SECRET, SECRET: 1})
        await balancer.task("hello", {"name": SECRET * 9})
        await balancer.task("nope", {"text": SECRET})
        async with balancer.stream("stream", {"pieces": [SECRET]}) as reply:
            await reply.read()
        await balancer.task(
            "echo", {"text": SECRET}, mode="webhook", webhook={"url": receiver.url()},
            headers={"x-wr-auth": "the-caller-s-worker-key"},
        )  # fmt: skip
        await wait_until(lambda: receiver.received, "the webhook came")
        shown = (await balancer.ask("GET", "/logs")).body.decode()
        assert "echo" in shown
        await wait_until(lambda: "'echo' succeeded" in out.getvalue(), "task lines are written")
        for text in (shown, out.getvalue()):
            for secret in (SECRET, LB_KEY, AUTH_KEY, "the-caller-s-worker-key"):
                assert secret not in text
