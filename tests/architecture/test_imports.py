"""Who may import whom: the contracts of pyproject.toml, and that each of them can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGES, ROOT

LINT = Path(sys.executable).with_name("lint-imports")


def _lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages of a tree; it reads them without running them."""
    command = [LINT, "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def test_every_contract_is_kept() -> None:
    """The packages import one another in the allowed directions only, and the cores stay pure."""
    linted = _lint(ROOT)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout


# (importer, imported): each breaks one rule; the planted module is named after what it imports.
FORBIDDEN_IMPORTS = [
    ("worker", "balancer"),
    ("worker", "cabrank"),
    ("balancer.maintenance", "worker"),
    ("shared", "balancer"),
    ("balancer.core", "asyncio"),
    ("balancer.core", "aiohttp"),
    ("balancer.flows.core", "time"),
    ("worker.core", "structlog"),
    ("shared", "socket"),
    ("shared.protocol", "logging"),
    ("shared", "shared.system"),
    ("shared.edge", "shared.client"),
    ("balancer.core", "balancer.api"),
    ("balancer.store", "balancer.delivery"),
    ("balancer.delivery", "balancer.fleet"),
    ("balancer.api", "balancer.store.sqlite"),
    ("balancer.store", "balancer.store.memory"),
]


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """A copy of the packages and their contracts, to be broken."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_planted_violation_is_found(copied_tree: Path) -> None:
    """Each rule catches what it is there for; an import for types only counts like any other."""
    planted = [
        f"{_plant(copied_tree, importer, imported)} -> {imported} "
        for importer, imported in FORBIDDEN_IMPORTS
    ]
    linted = _lint(copied_tree)
    found = " ".join(linted.stdout.split())
    assert linted.returncode == 1, linted.stderr
    assert [link for link in planted if link not in found] == [], linted.stdout


def test_a_new_folder_of_the_balancer_needs_its_layer(copied_tree: Path) -> None:
    """Nothing joins the balancer without a place in its layers."""
    _plant(copied_tree, "balancer.newcomer", "shared")
    linted = _lint(copied_tree)
    assert linted.returncode == 1, linted.stderr
    assert "balancer.newcomer" in linted.stdout


def _plant(tree: Path, importer: str, imported: str) -> str:
    """Write a module into a package of the tree, made where missing, and return its name."""
    folder = tree
    for part in importer.split("."):
        folder /= part
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    name = f"planted_{imported.replace('.', '_')}"
    source = f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {imported}\n"
    (folder / f"{name}.py").write_text(source, "utf-8")
    return f"{importer}.{name}"


def test_importing_worker_brings_no_store_and_no_balancer() -> None:
    """A machine that only runs functions loads nothing of the control plane."""
    program = (
        "import sys, worker\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'balancer', 'redis', 'sqlite3', '_sqlite3'}))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
