"""A plain client for tests: commands in, answers as text out, past the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

import redis


class RawRedis(Protocol):
    """A client of redis-py, as far as tests need it."""

    def execute_command(self, *arguments: object) -> object:
        """Send a command and return its answer."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def raw_redis(url: str, *, cluster: bool = False) -> RawRedis:
    """Return a client of a server, or of the cluster that it belongs to."""
    kind = redis.RedisCluster if cluster else redis.Redis
    made = kind.from_url(url, decode_responses=True, protocol=2)  # pyright: ignore[reportUnknownMemberType] untyped options
    return cast("RawRedis", made)


def texts(answer: object) -> list[str]:
    """Return an answer that is a list, or a set, of texts."""
    return list(cast("Iterable[str]", answer))
