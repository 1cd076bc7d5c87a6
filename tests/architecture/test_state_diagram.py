"""The diagram in ARCHITECTURE.md is the table."""

from __future__ import annotations

from pathlib import Path

from shared.task_state import mermaid

ROOT = Path(__file__).parents[2]


def test_the_diagram_is_generated_from_the_table() -> None:
    """ARCHITECTURE.md shows exactly what `python -m shared.task_state` prints."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    shown = text.split("```mermaid\n")[1].split("\n```")[0]
    assert shown == mermaid()
