"""Who may do what: every rule of the contract's §1."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.edge.headers import EdgeHeaders
from shared.edge.keys import (
    Keys,
    authorize_balancer,
    authorize_link,
    authorize_logs,
    authorize_maintenance,
    authorize_worker,
    is_key,
    knows_a_key,
    without_bearer,
)
from shared.errors import Failure

KEYS = Keys("worker-key", "lb-key")
Check = Callable[[EdgeHeaders], Failure | None]


def _balancer(headers: EdgeHeaders) -> Failure | None:
    return authorize_balancer(headers, KEYS.lb_key)


def _link(headers: EdgeHeaders) -> Failure | None:
    return authorize_link(headers, KEYS.lb_key)


def _with_both(check: Callable[[EdgeHeaders, str, str], Failure | None]) -> Check:
    return lambda headers: check(headers, *KEYS)


TASK = _with_both(authorize_worker)
DRAIN = _with_both(authorize_maintenance)
LOGS = _with_both(authorize_logs)


@pytest.mark.parametrize(
    ("authorization", "lb_auth", "task", "drain", "logs", "balancer", "link"),
    [
        ("worker-key", None, True, True, True, False, False),
        ("Bearer worker-key", None, True, True, True, False, False),
        ("bearer  worker-key ", None, True, True, True, False, False),
        ("worker-key", "lb-key", True, True, True, True, False),
        ("worker-key", "Bearer lb-key", True, True, True, True, False),
        ("worker-key", "wrong", False, False, True, False, False),
        ("worker-key", "", False, False, True, False, False),
        (None, "lb-key", False, True, True, True, False),
        ("wrong", "lb-key", False, False, True, True, False),
        ("lb-key", None, False, False, False, True, True),
        ("Bearer lb-key", None, False, False, False, True, True),
        (None, "worker-key", False, False, False, False, False),
        (None, None, False, False, False, False, False),
        ("", "", False, False, False, False, False),
        ("worker-ke", None, False, False, False, False, False),
        ("w\udcffrker-key", None, False, False, False, False, False),
        ("schlüssel", "schlüssel", False, False, False, False, False),
    ],
)
def test_the_key_table(  # the columns are the table's
    authorization: str | None, lb_auth: str | None, task: bool, drain: bool, logs: bool,
    balancer: bool, link: bool,
) -> None:  # fmt: skip
    """Each route takes its own keys in their own headers; anything else is `Unauthorized`."""
    headers = EdgeHeaders(authorization=authorization, lb_auth=lb_auth)
    checks = [(TASK, task), (DRAIN, drain), (LOGS, logs), (_balancer, balancer), (_link, link)]
    for check, allowed in checks:
        found = check(headers)
        assert (found is None) is allowed
        if found is not None:
            assert (found.code, found.status, found.message) == (
                "unauthorized",
                401,
                "Unauthorized",
            )


@pytest.mark.parametrize(
    ("authorization", "lb_auth", "full"),
    [
        ("worker-key", None, True), ("lb-key", None, True), (None, "lb-key", True),
        (None, "Bearer worker-key", True), ("wrong", None, False), (None, None, False),
    ],
)  # fmt: skip
def test_either_key_in_either_header_shows_a_worker_s_health(
    authorization: str | None, lb_auth: str | None, full: bool
) -> None:
    """`/health` never answers 401; a key only decides how much it shows."""
    assert knows_a_key(EdgeHeaders(authorization=authorization, lb_auth=lb_auth), *KEYS) is full


@pytest.mark.parametrize("given", ["\ud800", "k\udcff", "ß"])
def test_no_text_makes_the_comparison_raise(given: str) -> None:
    """What is no Unicode is simply another key."""
    assert not is_key(given, "k")
    assert is_key(given, given)


def test_an_empty_key_opens_nothing() -> None:
    """A key that was never set is not the same as an empty header."""
    headers = EdgeHeaders(authorization="", lb_auth="")
    assert authorize_worker(headers, "", "") is not None
    assert authorize_balancer(headers, "") is not None
    assert authorize_link(EdgeHeaders(authorization="Bearer "), "") is not None


def test_a_key_that_is_not_ascii_can_be_used() -> None:
    """Comparing in constant time takes any text."""
    assert authorize_link(EdgeHeaders(authorization="Bearer schlüssel"), "schlüssel") is None


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("k", "k"),
        ("Bearer k", "k"),
        ("BEARER k", "k"),
        ("Bearer", "Bearer"),
        ("Bearerk", "Bearerk"),
    ],
)
def test_the_prefix_is_optional(given: str, key: str) -> None:
    """Only the whole word and a space are a prefix."""
    assert without_bearer(given) == key


def test_keys_are_never_shown() -> None:
    """Neither a log line nor an error prints them."""
    assert "worker-key" not in f"{KEYS} {KEYS!r}"
