"""Every error of the client is an outage to us, and says whether what was asked may have been done."""

from __future__ import annotations

import pytest
from redis import exceptions

from balancer.store.redis.wire import outage
from shared.errors import Unavailable


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (exceptions.ConnectionError("Connection closed by server."), True),
        (exceptions.TimeoutError("Timeout reading"), False),
        (TimeoutError(), False),
        (ConnectionResetError(104, "reset"), True),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), False),
        (exceptions.AuthenticationError("invalid password"), False),
        (exceptions.MaxConnectionsError("Too many connections"), False),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file"), False),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), False),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), False),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), False),
        (exceptions.MasterDownError("Link with MASTER is down"), False),
        (exceptions.ClusterDownError("The cluster is down"), False),
        (exceptions.SlotNotCoveredError("Slot 7 is not covered"), False),
        (exceptions.RedisClusterException("no node"), False),
    ],
)
def test_an_error_is_an_outage(error: Exception, lost: bool) -> None:
    """Only a connection that broke is worth a second try at once."""
    out = outage(error, None)
    assert isinstance(out, Unavailable)
    assert out.code == "store_unavailable"
    assert out.lost is lost
    assert str(out).startswith("Store is unavailable: ")


def test_an_error_that_repeats_the_password_is_shown_without_it() -> None:
    """Whatever a server says, it does not get into a log."""
    out = outage(exceptions.ResponseError("wrong password 'hunter2'"), "hunter2")
    assert str(out) == "Store is unavailable: wrong password '[redacted]'"
