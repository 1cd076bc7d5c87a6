"""Functions by name."""

from __future__ import annotations

import pytest

from worker.authoring.decorators import function
from worker.authoring.registry import Registry
from worker.authoring.signature import DeclarationError


@function
async def beta(a: int = 1) -> int:
    return a


@function
async def alpha() -> None: ...


@function(name="beta")
async def other_beta() -> None: ...


def test_functions_are_found_by_name() -> None:
    """An unknown name is None, also one that objects have by birth."""
    registry = Registry([beta, alpha])
    assert registry.get("beta") is beta
    assert [registry.get(name) for name in ("nope", "__init__", "")] == [None, None, None]
    assert ("alpha" in registry, "nope" in registry, len(registry)) == (True, False, 2)


def test_the_order_is_that_of_the_names() -> None:
    """Two workers with the same functions announce them alike."""
    assert list(Registry([beta, alpha])) == [alpha, beta]
    assert [spec.name for spec in Registry([beta, alpha]).specs()] == ["alpha", "beta"]


def test_a_name_is_taken_once() -> None:
    """The error names both places; the first stays."""
    registry = Registry([beta])
    registry.add(beta)
    with pytest.raises(DeclarationError) as caught:
        registry.add(other_beta)
    assert str(caught.value) == (
        f"two functions are called 'beta': {beta.origin} and {other_beta.origin}"
    )
    assert (registry.get("beta"), len(registry)) == (beta, 1)
