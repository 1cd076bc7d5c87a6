"""The Python files of the project, as the architecture tests see them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cabrank", "balancer", "worker", "shared")
FOLDERS = (*PACKAGES, "tests", "examples", "benchmarks", "deploy")


def python_files() -> list[Path]:
    """Return every Python file of ours, in a stable order; folders that do not exist hold none."""
    return sorted(
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        # A virtual environment of the benchmarks is not ours.
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    )
