"""Every test of this folder that asks for `store` runs over each implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from balancer.store.ports import Store
from tests.fakes.redis_server import redis_server
from tests.fakes.store_openers import MemoryOpener, RedisOpener, SqliteOpener, StoreOpener

_namespaces = count(1)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Return a real Redis with its log on, which the tests of a session share."""
    with redis_server("--appendonly", "yes", "--appendfsync", "everysec") as server:
        yield server.url


@pytest.fixture
def redis_opener(redis_url: str) -> Iterator[RedisOpener]:
    """Return what opens a namespace of its own; what is left in it at the end is checked."""
    opener = RedisOpener(redis_url, f"test-{next(_namespaces)}")
    yield opener
    opener.close()


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)],
)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> StoreOpener:
    """Return what opens the store under test."""
    if request.param == "redis":
        return request.getfixturevalue("redis_opener")
    return MemoryOpener() if request.param == "memory" else SqliteOpener(tmp_path / "store.db")


@pytest.fixture
async def store(opener: StoreOpener) -> AsyncIterator[Store]:
    """Return an open store."""
    opened = await opener.open()
    yield opened
    await opened.close()
