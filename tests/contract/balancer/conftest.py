"""A balancer over one worker that hosts a function for each way in which a call can go."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.fakes.in_process_balancer import RunningBalancer, running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import PLAIN
from worker.app import Worker

BODY_LIMIT = 20_000


@pytest.fixture
async def worker() -> AsyncGenerator[Worker]:
    """Run the worker."""
    async with running_worker(*PLAIN) as running:
        yield running


@pytest.fixture
async def balancer(worker: Worker, tmp_path: Path) -> AsyncGenerator[RunningBalancer]:
    """Run the balancer, linked to the worker."""
    async with running_balancer(tmp_path, worker.url, request_body_limit=BODY_LIMIT) as running:
        yield running
