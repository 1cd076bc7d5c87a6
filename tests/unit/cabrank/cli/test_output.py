"""Results for people and for programs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from cabrank.cli.output import event_of, print_piece, print_value, workers_json, workers_table
from shared.client import Chunk, Progress, WorkerInfo
from shared.client.records import SlotsInfo

READY = WorkerInfo(
    id="10.0.0.7:3000", url="http://10.0.0.7:3000", status="ready", group="default", contract=1,
    slots=SlotsInfo(used=3, available=7, limit=10, queue=2), functions=({"name": "b"}, {"name": "a"}),
    tags={"model": "m1"}, link="cabrank",
)  # fmt: skip
UNKNOWN = WorkerInfo(id="10.0.0.8:3000", problem="connection refused")


def _printed(*workers: WorkerInfo) -> list[list[str]]:
    """Return the lines of the table, split at two spaces or more."""
    out = io.StringIO()
    Console(file=out, width=300, highlight=False).print(workers_table(workers))
    return [
        [cell for cell in line.split("  ") if cell.strip()] for line in out.getvalue().splitlines()
    ]


def test_the_table_of_the_fleet() -> None:
    """A row for each worker; what is not known yet is a dash."""
    header, ready, unknown = _printed(READY, UNKNOWN)
    assert [cell.strip() for cell in header] == [
        "WORKER", "STATUS", "GROUP", "CONTRACT", "BUSY", "SLOTS", "QUEUE", "LINK", "FUNCTIONS", "TAGS", "PROBLEM",
    ]  # fmt: skip
    assert [cell.strip() for cell in ready] == [
        "10.0.0.7:3000", "ready", "default", "1", "3", "10", "2", "cabrank", "a, b", "model=m1",
    ]  # fmt: skip
    assert [cell.strip() for cell in unknown] == [
        "10.0.0.8:3000", "unreachable", "–", "–", "–", "–", "–", "none", "connection refused",
    ]  # fmt: skip


def test_problems_have_a_column_when_there_are_any() -> None:
    """A healthy fleet has a narrower table."""
    assert "PROBLEM" not in " ".join(_printed(READY)[0])


def test_what_a_worker_tells_is_no_markup() -> None:
    """Tags and names come from other machines: they neither colour nor move anything."""
    worker = WorkerInfo(id="w", tags={"t": "[bold red]x[/]\x1b[2J"})
    assert "t=[bold red]x[/]�[2J" in " ".join(_printed(worker)[1])


def test_the_fleet_for_programs() -> None:
    """JSON has every field."""
    first, second = workers_json([READY, UNKNOWN])
    assert json.loads(json.dumps(first))["slots"] == {
        "used": 3,
        "available": 7,
        "limit": 10,
        "queue": 2,
    }
    assert second["problem"] == "connection refused"


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (None, ""),
        ("plain [text]", "plain [text]\n"),
        ({"a": "é"}, '{\n  "a": "é"\n}\n'),
        (0, "0\n"),
    ],
)
def test_values_for_people(value: object, printed: str) -> None:
    """Text as it is, all else as JSON, nothing for nothing."""
    out = io.StringIO()
    print_value(Console(file=out, width=80), value)
    assert out.getvalue() == printed


@pytest.mark.parametrize(
    ("value", "printed"),
    [("text", b"text"), (b"\x00\xff", b"\x00\xff"), ({"a": 1}, b'{"a":1}\n'), ("\ud800", b"?")],
)
def test_pieces_as_plain_text(
    value: object, printed: bytes, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Text and bytes go verbatim, a JSON value with a newline."""
    print_piece(value)
    assert capfdbinary.readouterr().out == printed


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (Chunk(1, "a"), {"id": 1, "event": "chunk", "data": "a"}),
        (Chunk(2, b"\x00"), {"id": 2, "event": "chunk", "data": {"base64": "AA=="}}),
        (Progress(3, done=1, total=2), {"id": 3, "event": "progress", "data": {"done": 1, "total": 2}}),
    ],
)  # fmt: skip
def test_events_for_programs(event: Chunk | Progress, shown: dict[str, object]) -> None:
    """A stream with --json is the contract's NDJSON."""
    assert event_of(event) == shown
