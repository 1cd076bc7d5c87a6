"""What acceptance tests share: a bench of real processes, and a receiver of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.processes import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return an empty bench; end whatever still runs on it."""
    bench = Bench(tmp_path)
    try:
        yield bench
    finally:
        bench.close()
        print(bench.logs())  # shown when the test failed


@pytest.fixture
async def hooks() -> AsyncIterator[HookReceiver]:
    """Return a receiver of webhooks."""
    async with hook_receiver() as receiver:
        yield receiver
