"""The catalogue of events, and that the code names no event outside it."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from shared.log_ring import LEVELS
from shared.telemetry import EVENTS, describe, markdown
from tests.architecture.source_tree import ROOT

NAMED = re.compile(r"""\.(?:event|task_line)\(\s*["'](?P<action>[a-z_.]+)["']""")


@pytest.mark.parametrize("action", EVENTS)
def test_a_row_is_well_formed(action: str) -> None:
    """A stable dotted name, a known level, a text that uses declared fields only."""
    row = EVENTS[action]
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", action)
    assert row.level in LEVELS
    used = {name for _, name, _, _ in Formatter().parse(row.text) if name}
    assert used <= set(row.fields)


@pytest.mark.parametrize("action", EVENTS)
def test_a_text_can_be_made_of_nothing_and_of_everything(action: str) -> None:
    """No line is lost because a field is missing or of another type."""
    row = EVENTS[action]
    assert "{" not in describe(action, {})
    full = describe(action, dict.fromkeys(row.fields, 7))
    assert "?" not in full
    assert describe(action, dict.fromkeys(row.fields, "text"))


def test_a_text_is_filled_in() -> None:
    """With the formats of the row."""
    assert (
        describe("task.succeeded", {"function": "f", "seconds": 1.23456})
        == "'f' succeeded in 1.235 s"
    )
    assert describe("task.succeeded", {"seconds": 1.0}) == "'?' succeeded in 1.000 s"
    assert describe("task.succeeded", {"function": "f", "seconds": "x"}) == "'f' succeeded in ? s"


def test_the_events_that_dashboards_know_are_there() -> None:
    """Stable names: removing one breaks whoever watches it."""
    assert {
        "task.accepted", "task.started", "task.succeeded", "task.failed", "task.cancelled", "task.timed_out",
        "task.requeued", "task.retried", "task.quarantined", "task.expired", "worker.up", "worker.down",
        "worker.maintenance", "worker.invalid", "roster.reloaded", "roster.broken", "link.connected",
        "link.lost", "webhook.delivered", "webhook.postponed", "webhook.dead_lettered", "store.unavailable",
    } <= set(EVENTS)  # fmt: skip


def test_no_code_names_an_event_outside_the_catalogue() -> None:
    """Every action that is written in the packages has its row."""
    named = {
        match["action"]
        for package in ("balancer", "worker", "shared")
        for path in (ROOT / package).rglob("*.py")
        for match in NAMED.finditer(path.read_text("utf-8"))
    }
    assert len(named) > 5  # the pattern finds what it looks for
    assert named - set(EVENTS) == set()


def test_the_table_of_the_documentation() -> None:
    """One row an event."""
    lines = markdown().splitlines()
    assert lines[0] == "| action | level | fields | text |"
    assert len(lines) == 2 + len(EVENTS)
    assert "| `link.lost` | warn | `peer`, `reason` | Link to {peer} is lost: {reason} |" in lines
