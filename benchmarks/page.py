"""The figures of docs/performance.md: the ratios of one full run, put between two marks of the page.

Only ratios: figures of two machines, or of two hours on one, say nothing about each other.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import Cell, Goal, Section, Table

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN = "<!-- figures: written by python -m benchmarks --page -->"
END = "<!-- end of figures -->"


def write(sections: list[Section], path: Path = PAGE) -> None:
    """Replace the figures of the page."""
    before, _, rest = path.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    parts = [_goals([goal for section in sections for goal in section.goals])]
    parts += [_ratios(table) for section in sections for table in section.tables if table.ratios]
    path.write_text("\n\n".join([before + BEGIN, *parts, END + after]))


def _goals(goals: list[Goal]) -> str:
    lines = ["| goal | found | wanted | |", "| --- | ---: | ---: | --- |"]
    for goal in goals:
        sign = "≥" if goal.at_least else "≤"
        verdict = "met" if goal.met else "**missed**"
        if goal.unit == "×":
            found, wanted = f"{goal.value:.2f} ×", f"{sign} {goal.bound:g} ×"
        else:
            found, wanted = (
                f"{goal.value / goal.bound:.2f} of it",
                f"{sign} {goal.bound:g} {goal.unit}",
            )
        lines.append(f"| {goal.claim} | {found} | {wanted} | {verdict} |")
    return "\n".join(lines)


def _ratios(table: Table) -> str:
    at = [0, *(table.columns.index(name) for name in table.ratios)]
    header = " | ".join(table.columns[n] for n in at)
    rule = " | ".join("---" if not n else "---:" for n in at)
    rows = ["| " + " | ".join(_text(row[n]) for n in at) + " |" for row in table.rows]
    return "\n".join([f"{table.title}:", "", f"| {header} |", f"| {rule} |", *rows])


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return f"{cell:.2f} ×" if isinstance(cell, float) else str(cell)
