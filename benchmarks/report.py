"""What a run found: tables for the reader, goals that were met or missed, and all of it as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

Cell = str | float | int | None


@dataclass(slots=True)
class Table:
    """Rows under a title; floats are rounded for the reader and kept whole in the JSON.

    Attributes:
        title: says what was measured.
        columns: their names; the first holds what was measured.
        ratios: the columns that may be quoted, because they compare within the run.
        rows: a cell a column.
    """

    title: str
    columns: tuple[str, ...]
    ratios: tuple[str, ...] = ()
    rows: list[tuple[Cell, ...]] = field(default_factory=list[tuple[Cell, ...]])

    def add(self, *cells: Cell) -> None:
        """Add a row."""
        assert len(cells) == len(self.columns), (self.columns, cells)
        self.rows.append(cells)

    def lines(self) -> list[str]:
        """Return the table as text: the first column to the left, figures to the right."""
        grid = [self.columns, *(tuple(_text(cell) for cell in row) for row in self.rows)]
        widths = [max(len(row[n]) for row in grid) for n in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.rjust(width) if n else cell.ljust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in grid
        ]
        return [self.title, lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


@dataclass(frozen=True, slots=True)
class Goal:
    """A claim and what was measured.

    Attributes:
        claim: what is wanted, in words.
        value: what was found.
        bound: where it must not fall below, or not rise above.
        at_least: which of both.
        unit: of value and bound.
    """

    claim: str
    value: float
    bound: float
    at_least: bool = True
    unit: str = "×"

    @property
    def met(self) -> bool:
        """Tell whether it is reached."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def line(self) -> str:
        """Return it as text."""
        sign = "≥" if self.at_least else "≤"
        verdict = "met   " if self.met else "MISSED"
        found, bound = _text(self.value), _text(self.bound)
        return f"{verdict}  {self.claim}: {found} {self.unit} ({sign} {bound})"


@dataclass(slots=True)
class Section:
    """What one benchmark found."""

    name: str
    tables: list[Table] = field(default_factory=list[Table])
    goals: list[Goal] = field(default_factory=list[Goal])
    notes: list[str] = field(default_factory=list[str])

    def text(self) -> str:
        """Return it for the reader."""
        parts = ["\n".join(table.lines()) for table in self.tables]
        parts += ["\n".join([*self.notes, *(goal.line() for goal in self.goals)])]
        return "\n\n".join(part for part in parts if part)


def save(sections: list[Section], *, quick: bool) -> Path:
    """Write a run to benchmarks/results/, by its time and as latest.json; return the first."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    found = {
        "at": now.isoformat(timespec="seconds"),
        "quick": quick,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "sections": [
            {**asdict(each), "goals": [{**asdict(goal), "met": goal.met} for goal in each.goals]}
            for each in sections
        ],
    }
    text = json.dumps(found, indent=1, ensure_ascii=False)
    path = RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(text)
    (RESULTS / "latest.json").write_text(text)
    return path


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else cell
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.2f}"
