"""What users may import is written down: `__all__` is the list of public names, in order."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

# What an author of functions and a caller of a fleet import; all other paths are ours to move.
PUBLIC_PACKAGES = ("cabrank", "worker")


def _public_names(package: ModuleType) -> list[str]:
    """Return the names that a reader of the package would take for public: no modules, no underscores."""
    return sorted(
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    )


@pytest.mark.parametrize("name", PUBLIC_PACKAGES)
def test_all_lists_the_public_names_in_order(name: str) -> None:
    """No public name is missing from the list, none is there by accident, and the list is sorted."""
    package = importlib.import_module(name)
    names: list[str] = list(getattr(package, "__all__", []))
    assert names == sorted(names)
    assert [each for each in names if not each.startswith("_")] == _public_names(package)


@pytest.mark.parametrize("name", PUBLIC_PACKAGES)
def test_every_listed_name_is_there(name: str) -> None:
    """`from package import *` works."""
    package = importlib.import_module(name)
    names: list[str] = list(getattr(package, "__all__", []))
    assert [each for each in names if not hasattr(package, each)] == []
