"""The batch: `code_stats` once for every package of the standard library, and what it adds up to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from cabrank.cli.demo.checks import Check
from shared.errors import CabrankError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.client import Client, TaskInfo
    from shared.client.records import Json

FUNCTION = "code_stats"
PRIORITIES = (1, 10, 100)  # dealt out in turn
CONCURRENCY = 64  # calls at one time: more than the fleet has slots, so that some wait by priority
MIN_PACKAGES = 200  # any installed standard library has more
PAGE = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one package.

    Attributes:
        package: its name.
        priority: of its task.
        took_s: from the call to the answer, waiting for a slot included.
        stats: what the function returned; None when it failed.
        error: why it failed.
    """

    package: str
    priority: int
    took_s: float
    stats: dict[str, Json] | None
    error: str | None = None

    def count(self, name: str) -> int:
        """Return one of the counts; 0 when there is none."""
        value = (self.stats or {}).get(name)
        return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The whole batch.

    Attributes:
        answers: one for every package.
        wall_s: from the first call to the last answer.
        function_s: time inside functions, summed up over all attempts; None when it is not known.
    """

    answers: tuple[Answer, ...]
    wall_s: float
    function_s: float | None

    @property
    def top_level(self) -> list[Answer]:
        """Return the packages that are inside no other, so that each file counts once."""
        return [each for each in self.answers if "." not in each.package]

    def total(self, name: str) -> int:
        """Return the sum of a count over the whole library."""
        return sum(each.count(name) for each in self.top_level)

    def biggest(self, count: int) -> list[Answer]:
        """Return the packages with the most lines."""
        return sorted(self.top_level, key=lambda each: (-each.count("lines"), each.package))[:count]

    def most_files(self) -> Answer:
        """Return the package with the most files."""
        return max(self.top_level, key=lambda each: (each.count("files"), each.package))

    def by_priority(self) -> Iterator[tuple[int, int, float, float]]:
        """Give priority, tasks, median and longest time to the answer in seconds."""
        for priority in PRIORITIES:
            times = [each.took_s for each in self.answers if each.priority == priority]
            if times:
                yield priority, len(times), median(times), max(times)


async def run_batch(
    client: Client, packages: Sequence[str], run: str, done: Callable[[Answer], None]
) -> Batch:
    """Call the function once for every package, a bounded number at one time.

    Args:
        client: calls the fleet.
        packages: their names.
        run: marks the tasks of this batch, in their metadata.
        done: is told each answer as it comes.
    """
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    waiting = iter(enumerate(packages))
    answers: list[Answer] = []

    async def caller() -> None:
        for number, package in waiting:
            answer = await _call(client, package, PRIORITIES[number % len(PRIORITIES)], run)
            answers.append(answer)
            done(answer)

    async with asyncio.TaskGroup() as callers:
        for _ in range(min(CONCURRENCY, len(packages))):
            callers.create_task(caller())
    wall_s = loop.time() - started_s
    return Batch(
        answers=tuple(answers), wall_s=wall_s, function_s=await _function_time(client, run)
    )


async def _call(client: Client, package: str, priority: int, run: str) -> Answer:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    try:
        stats = await client.call(
            FUNCTION, package=package, priority=priority, metadata={"demo": run}
        )
    except CabrankError as exc:
        error = f"{exc.message} ({exc.code})"
        return Answer(package, priority, loop.time() - started_s, None, error)
    return Answer(package, priority, loop.time() - started_s, stats)


async def _function_time(client: Client, run: str) -> float | None:
    """Return the time that attempts of this batch ran, from the balancer's records of its tasks."""
    total_s, seen, cursor = 0.0, 0, None
    while True:
        page = await client.tasks(function=FUNCTION, limit=PAGE, cursor=cursor)
        ours = [task for task in page.tasks if task.metadata == {"demo": run}]
        total_s += sum(_ran_s(task) for task in ours)
        seen += len(ours)
        cursor = page.next
        if cursor is None or not ours:
            return total_s if seen else None


def _ran_s(task: TaskInfo) -> float:
    return sum(
        (each.finished_at - each.started_at).total_seconds()
        for each in task.attempts
        if each.started_at is not None and each.finished_at is not None
    )


def check_batch(batch: Batch, packages: Sequence[str]) -> list[Check]:
    """Return what the batch promises and whether it held."""
    failed = [each for each in batch.answers if each.error is not None]
    answered = {each.package for each in batch.answers if each.error is None}
    empty = [each.package for each in batch.answers if each.count("files") < 1]
    totals = {name: batch.total(name) for name in ("lines", "functions", "classes")}
    return [
        Check(
            f"more than {MIN_PACKAGES} packages are there to be read",
            len(packages) > MIN_PACKAGES,
            f"{len(packages)} packages",
        ),
        Check(
            "every package was answered",
            answered == set(packages) and not failed,
            f"{len(answered)} of {len(packages)}"
            + (f"; {failed[0].package}: {failed[0].error}" if failed else ""),
        ),
        Check(
            "every package has files, and the library has lines, functions and classes",
            not empty and all(totals.values()),
            f"without files: {', '.join(empty[:3])}" if empty else _text(totals),
        ),
    ]


def _text(totals: dict[str, int]) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in totals.items())
