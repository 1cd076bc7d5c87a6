"""Shows the demo: in a terminal with colours, tables and a progress bar, elsewhere as plain lines."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from rich.console import Console

    from cabrank.cli.demo.batch import Answer, Batch
    from cabrank.cli.demo.checks import Check
    from cabrank.cli.demo.hook import Hooked
    from cabrank.cli.demo.walk import Walk
    from shared.client.records import Json

BIGGEST = 8  # packages in the table
LONG = 160  # characters of a JSON text that are shown


class Report:
    """Prints what the demo does, in order."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, text: str) -> None:
        """Begin a part."""
        self._console.print()
        self._console.print(f"[bold cyan]── {text}[/]", soft_wrap=True)

    def line(self, text: str) -> None:
        """Print one line as it is; long ones are not broken, so that they can be copied."""
        self._console.print(text, markup=False, soft_wrap=True)

    def sent(self, text: str) -> None:
        """Print what was sent."""
        self.line(f"sent      {text}")

    def came_back(self, took_s: float, value: Json) -> None:
        """Print what came back and how long it took."""
        self.line(f"came back {shortened(value)}  ({took_s * 1000:,.1f} ms)")

    @contextmanager
    def batch(self, total: int) -> Generator[Callable[[Answer], None]]:
        """Show how far a batch is: a bar in a terminal, a line for each quarter elsewhere."""
        if not self._console.is_terminal:
            yield self._quarters(total)
            return
        columns = (
            TextColumn("{task.description:<24.24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            bar = progress.add_task("", total=total)

            def advance(answer: Answer) -> None:
                progress.update(bar, advance=1, description=answer.package)

            yield advance

    def _quarters(self, total: int) -> Callable[[Answer], None]:
        count = 0

        def advance(answer: Answer) -> None:
            nonlocal count
            count += 1
            if count * 4 // total > (count - 1) * 4 // total:
                self.line(f"{count:>6} of {total} answered, the last: {answer.package}")

        return advance

    def batch_done(self, batch: Batch) -> None:
        """Print what the batch added up to, and how long its tasks took."""
        self.line("The standard library, its biggest packages first:")
        self._console.print(_biggest(batch))
        self.line("Time to the answer by priority, 1 is first:")
        self._console.print(_priorities(batch))
        count = len(batch.answers)
        rate = count / batch.wall_s
        self.line(f"{count} tasks in {batch.wall_s:.2f} s: {rate:,.0f} tasks/s")
        if batch.function_s is not None:
            busy = batch.function_s / batch.wall_s
            self.line(
                f"{batch.function_s:.2f} s inside functions in {batch.wall_s:.2f} s: "
                f"{busy:.1f} slots busy on average"
            )

    def piece(self, passed_s: float, value: Json) -> None:
        """Print a piece of a stream and when it came."""
        self.line(f"  +{passed_s:7.3f} s  {shortened(value)}")

    def walk_done(self, walk: Walk) -> None:
        """Print how a stream ended."""
        self.came_back(walk.wall_s, walk.result)
        self.line(f"{walk.pieces} pieces, the first after {walk.first_s * 1000:,.1f} ms")

    def hook_done(self, hooked: Hooked) -> None:
        """Print what was accepted, what was delivered and when."""
        self.came_back(hooked.accepted_s, {"task_id": hooked.task_id})
        if hooked.delivery is not None and hooked.delivered_s is not None:
            self.line(f"delivered {shortened(hooked.result)}  (+{hooked.delivered_s:.3f} s)")
            for name in (
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "x-cabrank-outcome",
            ):
                self.line(f"          {name}: {hooked.delivery.headers.get(name, '–')}")

    def checks(self, checks: Iterable[Check]) -> None:
        """Print every promise and whether it held."""
        for check in checks:
            word, style = ("ok", "green") if check.held else ("FAILED", "bold red")
            self._console.print(f"[{style}]{word:<7}[/]", end="")
            self.line(f"{check.promise}: {check.seen}")

    def try_it(self, lines: Sequence[tuple[str, str]]) -> None:
        """Print commands to copy, each under what it does."""
        for what, command in lines:
            self._console.print(f"[dim]# {what}[/]", soft_wrap=True)
            self.line(command)


def shortened(value: Json) -> str:
    """Return a value as JSON text, cut where it gets long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def _biggest(batch: Batch) -> Table:
    table = Table(box=None)
    table.add_column("package")
    names = ("files", "lines", "functions", "classes")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("answered in", justify="right")
    for answer in batch.biggest(BIGGEST):
        counts = [f"{answer.count(name):,}" for name in names]
        table.add_row(answer.package, *counts, f"{answer.took_s * 1000:,.0f} ms")
    totals = [f"{batch.total(name):,}" for name in names]
    table.add_row("all of them", *totals, f"{batch.wall_s * 1000:,.0f} ms", style="bold")
    return table


def _priorities(batch: Batch) -> Table:
    table = Table(box=None)
    for name in ("priority", "tasks", "median", "longest"):
        table.add_column(name, justify="right")
    for priority, count, middle_s, longest_s in batch.by_priority():
        table.add_row(
            str(priority), str(count), f"{middle_s * 1000:,.0f} ms", f"{longest_s * 1000:,.0f} ms"
        )
    return table
