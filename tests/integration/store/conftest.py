"""A real Redis for the tests of this folder: a process of this machine, because they kill it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.fakes.redis_audit import RedisAudit
from tests.fakes.redis_server import RedisProcess

SECRET = "p%40ss-of-the-store"  # as it stands in a URL
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")

_namespaces = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """Return a Redis with its log on and a password, shared by a module; every test leaves it running."""
    folder = tmp_path_factory.mktemp("redis")
    process = RedisProcess(folder, *DURABLE, "--requirepass", "p@ss-of-the-store")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def url(server: RedisProcess) -> Iterator[str]:
    """Return the STORE_URL of a fresh namespace; what is left in it at the end is checked."""
    namespace = f"it-{next(_namespaces)}"
    login = f"redis://:{SECRET}@127.0.0.1:{server.port}/0"
    yield f"{login}?namespace={namespace}"
    audit = RedisAudit([login], namespace)
    try:
        audit.check()
    finally:
        audit.remove()
