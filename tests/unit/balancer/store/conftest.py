"""Every test of this folder that asks for `store` runs over each implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from balancer.store.ports import Store
from tests.fakes.store_openers import MemoryOpener, SqliteOpener, StoreOpener


@pytest.fixture(params=["memory", "sqlite"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> StoreOpener:
    """Return what opens the store under test."""
    return MemoryOpener() if request.param == "memory" else SqliteOpener(tmp_path / "store.db")


@pytest.fixture
async def store(opener: StoreOpener) -> AsyncIterator[Store]:
    """Return an open store."""
    opened = await opener.open()
    yield opened
    await opened.close()
