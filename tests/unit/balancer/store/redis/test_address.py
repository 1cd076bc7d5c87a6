"""STORE_URLs of a Redis: what they say, and what is refused in words that give nothing away."""

from __future__ import annotations

import pytest

from balancer.store.redis.address import Address, address_of
from shared.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", Address(kind="redis", hosts=(("h", 6379),), shown="redis://h")),
        (
            "redis://ada:s%20e@h:7/3?namespace=prod",
            Address(
                kind="redis", hosts=(("h", 7),), user="ada", password="s e", db=3,
                namespace="prod", shown="redis://h:7/3",
            ),
        ),
        (
            "redis://:pa/ss@wo?rd@h/1",
            Address(
                kind="redis", hosts=(("h", 6379),), password="pa/ss@wo?rd", db=1,
                shown="redis://h/1",
            ),
        ),
        (
            "rediss://[::1]:7/0?ca=/x.pem",
            Address(
                kind="redis", hosts=(("::1", 7),), tls=True, ca="/x.pem", shown="rediss://[::1]:7/0"
            ),
        ),
        (
            "unix://:pw@/run/redis.sock?db=2",
            Address(
                kind="redis", path="/run/redis.sock", password="pw", db=2,
                shown="unix:///run/redis.sock",
            ),
        ),
        (
            "redis+sentinel://:pw@a:1,b,c:3/main/2",
            Address(
                kind="sentinel", hosts=(("a", 1), ("b", 26379), ("c", 3)), password="pw",
                service="main", db=2, shown="redis+sentinel://a:1,b,c:3/main/2",
            ),
        ),
        (
            "redis+cluster://a:1,b?tls=true",
            Address(
                kind="cluster", hosts=(("a", 1), ("b", 6379)), tls=True,
                shown="redis+cluster://a:1,b",
            ),
        ),
    ],
)  # fmt: skip
def test_a_url_says_where_the_store_is(url: str, expected: Address) -> None:
    """Every form of the table in the README."""
    assert address_of(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://", "hosts are host:port"),
        ("redis://h:0", "hosts are host:port"),
        ("redis://h:99999", "hosts are host:port"),
        ("redis://a,b", "one host"),
        ("redis://h/x", "the database is a number"),
        ("redis://:secret@h?password=secret", "unknown option 'password'"),
        ("redis://:secret@h?namespace={x}", "namespace is 1 to 64"),
        ("redis+cluster://h?tls=maybe", "tls is true or false"),
        ("redis+cluster://h/3", "a cluster has the database 0 only"),
        ("redis+sentinel://h", "name the service"),
        ("unix://:secret@redis.sock", "a socket is an absolute path"),
    ],
)
def test_a_url_that_says_nothing_is_refused_without_its_password(url: str, reason: str) -> None:
    """The refusal says what was expected."""
    with pytest.raises(ConfigError, match=reason) as caught:
        address_of(url)
    assert "secret" not in caught.value.message


def test_an_address_does_not_show_its_password() -> None:
    """Neither in a log nor in a debugger's line."""
    assert "secret" not in repr(address_of("redis://:secret@h"))
