"""The leak check of tests/conftest.py really runs over every async test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.architecture.source_tree import ROOT

LEAKY_TESTS = """
from __future__ import annotations

import asyncio

import pytest


@pytest.fixture
async def server():
    task = asyncio.create_task(asyncio.Event().wait())
    yield
    task.cancel()


async def test_leaky():
    asyncio.create_task(asyncio.Event().wait(), name="left-behind")


async def test_clean(server):
    await asyncio.create_task(asyncio.sleep(0))


def test_sync():
    pass
"""


def test_an_async_test_that_leaves_a_task_fails(tmp_path: Path) -> None:
    """The leak is reported by the task's name; a fixture may run a task until its own end."""
    (tmp_path / "test_leaky.py").write_text(LEAKY_TESTS, "utf-8")
    config = ["-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *config, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed, 1 error" in ran.stdout, ran.stdout + ran.stderr
    assert "ERROR" in ran.stdout
    assert "left 1 task(s) running" in ran.stdout
    assert "left-behind" in ran.stdout
