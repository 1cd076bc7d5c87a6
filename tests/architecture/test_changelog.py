"""The version and the changelog tell the same story."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.architecture.source_tree import ROOT

HEADING = re.compile(r"^## \[?(?P<name>Unreleased|\d+\.\d+\.\d+)\]?", re.MULTILINE)


def _headings(changelog: str) -> list[str]:
    return [match["name"] for match in HEADING.finditer(changelog)]


def _agrees(version: str, changelog: str) -> bool:
    """Say whether the newest heading is this version, or work that is not released yet."""
    newest = _headings(changelog)[:1]
    return newest in ([version], ["Unreleased"])


def test_the_newest_heading_is_this_version_or_unreleased() -> None:
    """Who reads the changelog sees what this version, or the next one, brings."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert _agrees(version, (ROOT / "CHANGELOG.md").read_text("utf-8"))


@pytest.mark.parametrize(
    ("changelog", "agrees"),
    [
        ("# Changelog\n\n## [Unreleased]\n\n## [0.1.0] – 2026-01-01\n", True),
        ("# Changelog\n\n## [0.2.0] – 2026-01-01\n", True),
        ("# Changelog\n\n## 0.2.0\n", True),
        ("# Changelog\n\n## [0.3.0] – 2026-01-01\n\n## [0.2.0] – 2026-01-01\n", False),
        ("# Changelog\n", False),
    ],
)
def test_the_check_reads_headings(changelog: str, agrees: bool) -> None:
    """A changelog without the version's heading on top is caught."""
    assert _agrees("0.2.0", changelog) is agrees
