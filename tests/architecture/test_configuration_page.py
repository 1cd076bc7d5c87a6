"""docs/configuration.md is made from the settings classes."""

from __future__ import annotations

from pathlib import Path

from cabrank.cli.configuration import markdown

ROOT = Path(__file__).parents[2]


def test_the_page_is_generated_from_the_settings() -> None:
    """The page shows exactly what `python -m cabrank.cli.configuration` prints."""
    assert (ROOT / "docs" / "configuration.md").read_text() == markdown()


def test_every_setting_says_what_it_means() -> None:
    """No row lacks its meaning."""
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert all(len(row.split("|")[3].strip()) > 10 for row in rows)
