"""Secrets in the store: sealed under LB_AUTH_KEY, unreadable under another."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.store.sealing import Sealer


@given(secret=st.text(max_size=100))
@settings(max_examples=30)
def test_what_was_sealed_is_opened_again(secret: str) -> None:
    """The same key opens, in another process too; the sealed form shows nothing of the secret."""
    sealed = Sealer("key").seal(secret)
    assert sealed is not None
    assert sealed.isascii()
    if len(secret) > 3:
        assert secret not in sealed
    assert Sealer("key").open(sealed) == secret


def test_no_secret_stays_none() -> None:
    """A task without a worker key has none."""
    assert Sealer("key").seal(None) is None
    assert Sealer("key").open(None) is None


def test_another_key_opens_nothing() -> None:
    """After LB_AUTH_KEY has changed an old secret is gone, not wrong; so is one that was tampered with."""
    sealed = Sealer("key").seal("secret")
    assert sealed is not None
    assert Sealer("other").open(sealed) is None
    assert Sealer("key").open("nonsense") is None
    other = "A" if sealed[40] != "A" else "B"
    assert Sealer("key").open(sealed[:40] + other + sealed[41:]) is None


def test_two_seals_of_one_secret_differ() -> None:
    """Equal keys of two tasks cannot be told from each other by the store alone."""
    assert Sealer("key").seal("secret") != Sealer("key").seal("secret")
