"""What a run writes into docs/performance.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import page
from benchmarks.report import Goal, Section, Table

if TYPE_CHECKING:
    from pathlib import Path

GOALS = [
    Goal("ours / theirs", 1.5, 1.2),
    Goal("latency that is added", 0.25, 0.5, at_least=False, unit="ms"),
    Goal("pieces", 0.5, 1.0),
]


def test_only_ratios_get_into_the_page(tmp_path: Path) -> None:
    """The figures between the marks are renewed, the text around them stays."""
    path = tmp_path / "performance.md"
    path.write_text(f"before\n\n{page.BEGIN}\nold\n{page.END}\n\nafter\n")
    table = Table("Calls", ("system", "calls/s", "of bare"), ("of bare",))
    table.add("ours", 12_345.0, 0.5)
    table.add("not measured", 12_345.0, None)
    page.write([Section("throughput", [table], GOALS)], path)
    text = path.read_text()
    assert text.startswith(f"before\n\n{page.BEGIN}\n")
    assert text.endswith(f"{page.END}\n\nafter\n")
    assert "old" not in text
    assert "12,345" not in text
    assert "12345" not in text
    assert "| ours | 0.50 × |" in text
    assert "| not measured | – |" in text


def test_a_goal_shows_how_far_it_is_from_its_bound(tmp_path: Path) -> None:
    """A bound in milliseconds is shown as a share of it, because the figure itself says nothing."""
    path = tmp_path / "performance.md"
    path.write_text(page.BEGIN + page.END)
    page.write([Section("all", goals=GOALS)], path)
    text = path.read_text()
    assert "| ours / theirs | 1.50 × | ≥ 1.2 × | met |" in text
    assert "| latency that is added | 0.50 of it | ≤ 0.5 ms | met |" in text
    assert "| pieces | 0.50 × | ≥ 1 × | **missed** |" in text


def test_the_page_has_its_marks() -> None:
    """A run finds where its figures belong."""
    text = page.PAGE.read_text()
    assert text.count(page.BEGIN) == 1
    assert text.index(page.BEGIN) < text.index(page.END)
