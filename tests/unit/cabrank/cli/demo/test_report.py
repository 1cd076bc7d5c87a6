"""What the demo prints, in a terminal and elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cabrank.cli.demo.batch import Answer, Batch
from cabrank.cli.demo.checks import Check
from cabrank.cli.demo.commands import try_lines
from cabrank.cli.demo.report import LONG, Report, shortened
from cabrank.cli.fleet_plan import FleetPlan

ANSWERS = tuple(
    Answer(f"p{n}", 1, 0.5, {"files": 1, "lines": 1000 + n, "functions": 2, "classes": 3})
    for n in range(12)
)


def _report(*, terminal: bool = False) -> tuple[Report, io.StringIO]:
    out = io.StringIO()
    return Report(Console(file=out, width=80, force_terminal=terminal, highlight=False)), out


def test_elsewhere_progress_is_plain_lines() -> None:
    """A line for each quarter of the batch, without control characters."""
    report, out = _report()
    with report.batch(len(ANSWERS)) as advance:
        for answer in ANSWERS:
            advance(answer)
    assert [line.split()[:3] for line in out.getvalue().splitlines()] == [
        ["3", "of", "12"], ["6", "of", "12"], ["9", "of", "12"], ["12", "of", "12"],
    ]  # fmt: skip
    assert "\x1b" not in out.getvalue()


def test_a_terminal_has_a_bar() -> None:
    """The bar ends full."""
    report, out = _report(terminal=True)
    with report.batch(len(ANSWERS)) as advance:
        for answer in ANSWERS:
            advance(answer)
    assert "12/12" in out.getvalue()


def test_the_batch_adds_up() -> None:
    """Biggest packages, totals, rate, and how busy the slots were."""
    report, out = _report()
    report.batch_done(Batch(answers=ANSWERS, wall_s=2.0, function_s=5.0))
    lines = out.getvalue().splitlines()
    assert any(line.split()[:3] == ["p11", "1", "1,011"] for line in lines)
    assert any(line.split()[:5] == ["all", "of", "them", "12", "12,066"] for line in lines)
    assert "12 tasks in 2.00 s: 6 tasks/s" in lines
    assert lines[-1].endswith("2.5 slots busy on average")


def test_what_is_copied_is_not_broken() -> None:
    """A long line stays one line, and nothing in it is markup."""
    report, out = _report()
    line = "curl [bold]" + "x" * 300
    report.line(line)
    assert out.getvalue() == line + "\n"


def test_checks_say_what_was_seen() -> None:
    """Kept and broken promises look different."""
    report, out = _report()
    report.checks(
        [Check("water is wet", True, "it is"), Check("fire is cold", False, "[it] is not")]
    )
    assert out.getvalue().splitlines() == [
        "ok     water is wet: it is",
        "FAILED fire is cold: [it] is not",
    ]


def test_long_values_are_cut() -> None:
    """A value is shown as JSON, up to a line or two."""
    assert shortened({"a": "é"}) == '{"a": "é"}'
    assert len(shortened("x" * 1000)) == LONG + 1


PLAN = FleetPlan(
    children=(), url="http://127.0.0.1:4000", key="the-secret", worker_ids=("127.0.0.1:3000",),
    workers_file=Path("w.json"),
)  # fmt: skip


def test_the_commands_carry_the_generated_key(empty_folder: Path) -> None:
    """A key that was generated here is written out, so that the lines work as they are."""
    (empty_folder / ".cabrank").mkdir()
    (empty_folder / ".cabrank" / "lb_auth_key").write_text("the-secret")
    lines = [line for _, line in try_lines(PLAN)]
    curls = [line for line in lines if line.startswith("curl")]
    assert all('"Authorization: Bearer the-secret"' in line for line in curls)
    text = "\n".join(lines)
    for part in (
        '"mode": "stream"',
        '"webhook"',
        "/tasks/",
        "/workers",
        "127.0.0.1:3000/off",
        "/on",
    ):
        assert part in text


@pytest.mark.parametrize("generated", [None, "another"])
def test_a_configured_key_is_not_printed(empty_folder: Path, generated: str | None) -> None:
    """A secret that somebody chose does not get onto a screen."""
    if generated is not None:
        (empty_folder / ".cabrank").mkdir()
        (empty_folder / ".cabrank" / "lb_auth_key").write_text(generated)
    text = "\n".join(line for _, line in try_lines(PLAN))
    assert "the-secret" not in text
    assert "$LB_AUTH_KEY" in text
