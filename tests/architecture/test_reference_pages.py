"""docs/errors.md and docs/events.md are made from the tables that the code goes by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cabrank.cli.reference import errors_page, events_page
from shared.errors import CODES
from shared.telemetry import EVENTS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("name", "page"), [("errors", errors_page), ("events", events_page)])
def test_the_page_is_generated_from_its_table(name: str, page: Callable[[], str]) -> None:
    """The page shows exactly what `python -m cabrank.cli.reference` prints."""
    assert (DOCS / f"{name}.md").read_text() == page()


def test_every_code_and_every_event_has_its_row() -> None:
    """Codes and actions are promises."""
    for name, names in (("errors", CODES), ("events", EVENTS)):
        rows = [line for line in (DOCS / f"{name}.md").read_text().splitlines() if "| `" in line]
        assert [row.split("`")[1] for row in rows] == list(names)
