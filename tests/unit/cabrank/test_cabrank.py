"""The one name that users import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cabrank
import shared.errors
from shared.errors import CabrankError

ROOT = Path(cabrank.__file__).parents[1]
HEAVY = (
    "aiohttp",
    "argon2",
    "redis",
    "rich",
    "sqlite3",
    "structlog",
    "typer",
    "uvloop",
    "websockets",
)


def test_importing_it_is_light() -> None:
    """A file of functions, also in a child process, does not pay for servers, stores and the CLI."""
    program = f"import sys, cabrank; print([name for name in {HEAVY} if name in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


def test_every_error_can_be_caught_by_name() -> None:
    """No class of the tree is missing from what users import."""
    tree = {
        name
        for name, value in vars(shared.errors).items()
        if isinstance(value, type) and issubclass(value, CabrankError)
    }
    assert tree - set(cabrank.__all__) == set()
