"""From a URL to an open store: the only place that names the concrete ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from balancer.store.memory import MemoryStore
from balancer.store.sqlite import SqliteStore
from shared.errors import ConfigError
from shared.system import SystemIds

if TYPE_CHECKING:
    from balancer.store.ports import Store
    from shared.clock import Clock

SQLITE = "sqlite://"
REDIS = ("redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://")
_EXPECTED = (
    "this build supports sqlite:///file (relative), sqlite:////folder/file (absolute), memory://,"
    " redis://, rediss://, unix://, redis+sentinel:// and redis+cluster://"
)


async def open_store(url: str, *, clock: Clock) -> Store:
    """Open the store that a STORE_URL names.

    Args:
        url: `sqlite:///x` (relative), `sqlite:////x` (absolute), `memory://` (forgotten at exit), or a
            Redis (`balancer.store.redis.address`).
        clock: the machine's.

    Raises:
        ConfigError: the URL names no store of this build, or the store cannot be opened.
    """
    if url.startswith(SQLITE):
        return await SqliteStore.open(sqlite_path(url), clock=clock)
    if url in ("memory:", "memory://"):
        return MemoryStore(asyncio.get_running_loop().call_soon)
    if url.startswith(REDIS):
        # Not at the top: its client takes as long to import as all the rest, and few need it.
        from balancer.store.redis import RedisStore

        return await RedisStore.open(url, boot=SystemIds().boot, clock=clock)
    raise ConfigError(f"STORE_URL {shown(url)!r} is not supported: {_EXPECTED}")


def sqlite_path(url: str) -> str:
    """Return the path of a `sqlite://` URL.

    Raises:
        ConfigError: it has a host or options, or names no file.
    """
    rest = url.removeprefix(SQLITE)
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in ("", "/", ":memory:") or "?" in path:
        raise ConfigError(f"STORE_URL {shown(url)!r} names no file: {_EXPECTED}")
    return path


def shown(url: str) -> str:
    """Return a URL as it may be shown: without user, password and options."""
    scheme, mark, rest = url.partition("://")
    # Up to the last @: a password that was not escaped may hold any sign.
    return scheme + mark + rest.rpartition("@")[2].partition("?")[0]
