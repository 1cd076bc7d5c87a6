"""The demo's batch, against a server that speaks the contract, and its arithmetic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cabrank.cli.demo.batch import (
    CONCURRENCY,
    MIN_PACKAGES,
    PRIORITIES,
    Answer,
    Batch,
    check_batch,
    run_batch,
)
from shared.client import Client
from shared.errors import Failure, FunctionError
from tests.fakes.contract_server import AT, KEY, ContractServer, Input

PACKAGES = [f"p{n}" for n in range(MIN_PACKAGES)] + ["big", "big.inner"]


class Library:
    """Functions that count: the server's code_stats."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    async def stats(self, given: Input) -> object:
        """Return counts, and note how many run at one time."""
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if given["package"] == "p7":
            raise FunctionError(failure=Failure("function_error", "unreadable"))
        return {"files": 2, "lines": 10, "functions": 3, "classes": 1}


@pytest.fixture
async def server() -> AsyncIterator[ContractServer]:
    """A server with the function."""
    async with ContractServer() as server:
        yield server


async def test_every_package_is_asked_for_once(server: ContractServer) -> None:
    """All of them, under several priorities, a bounded number at one time; each answer is told."""
    library = Library()
    server.calls["code_stats"] = library.stats
    told: list[Answer] = []
    async with Client(server.url, key=KEY) as client:
        batch = await run_batch(client, PACKAGES, "run-1", told.append)
    assert sorted(answer.package for answer in batch.answers) == sorted(PACKAGES)
    assert told == list(batch.answers)
    assert library.most <= CONCURRENCY
    assert {body["priority"] for body in server.bodies} == set(PRIORITIES)
    assert all(body["metadata"] == {"demo": "run-1"} for body in server.bodies)
    [failed] = [answer for answer in batch.answers if answer.error is not None]
    assert (failed.package, failed.error) == ("p7", "unreadable (function_error)")
    held = {check.promise: check.held for check in check_batch(batch, PACKAGES)}
    assert held["every package was answered"] is False


async def test_time_inside_functions_comes_from_the_records(server: ContractServer) -> None:
    """Only attempts of this run count, over all pages."""

    async def stats(_: Input) -> object:
        return {"files": 1}

    server.calls["code_stats"] = stats
    for n in range(150):
        run = "run-1" if n >= 20 else "older"
        server.records[f"t{n}"] = {
            "task_id": f"t{n}", "status": "succeeded", "function": "code_stats",
            "metadata": {"demo": run},
            "attempts": [
                {"n": 1, "started_at": AT.isoformat(), "finished_at": AT.replace(second=7).isoformat()},
                {"n": 2, "started_at": AT.isoformat(), "finished_at": None},
            ],
        }  # fmt: skip
    async with Client(server.url, key=KEY) as client:
        batch = await run_batch(client, ["p"], "run-1", lambda _: None)
        assert batch.function_s == pytest.approx(130 * 2.0)
        assert (await run_batch(client, ["p"], "nobody", lambda _: None)).function_s is None


def _answer(package: str, lines: int = 10, priority: int = 1, took_s: float = 1.0) -> Answer:
    stats = {"files": lines // 10, "lines": lines, "functions": 1, "classes": 1}
    return Answer(package, priority, took_s, stats)


def _batch(*answers: Answer) -> Batch:
    return Batch(answers=answers, wall_s=2.0, function_s=None)


def test_a_file_counts_once() -> None:
    """A package inside another is part of it: totals and ranks leave it out."""
    batch = _batch(_answer("a", 10), _answer("b", 30), _answer("b.inner", 20))
    assert batch.total("lines") == 40
    assert [answer.package for answer in batch.biggest(2)] == ["b", "a"]
    assert batch.most_files().package == "b"


def test_times_by_priority() -> None:
    """Median and longest time for each priority that was used."""
    batch = _batch(
        _answer("a", priority=1, took_s=1), _answer("b", priority=1, took_s=3),
        _answer("c", priority=100, took_s=5),
    )  # fmt: skip
    assert list(batch.by_priority()) == [(1, 2, 2.0, 3), (100, 1, 5, 5)]


def _held(batch: Batch, packages: list[str]) -> list[bool]:
    return [check.held for check in check_batch(batch, packages)]


def test_a_whole_batch_holds() -> None:
    """Every package answered, all of them with files."""
    assert _held(_batch(*map(_answer, [*PACKAGES])), PACKAGES) == [True, True, True]


@pytest.mark.parametrize(
    ("answers", "held"),
    [
        ([_answer(name) for name in PACKAGES[1:]], [True, False, True]),
        ([_answer(name, lines=0) for name in PACKAGES], [True, True, False]),
        ([*map(_answer, PACKAGES[1:]), Answer(PACKAGES[0], 1, 1.0, None, "lost")], [True, False, False]),
    ],
)  # fmt: skip
def test_what_is_missing_is_found(answers: list[Answer], held: list[bool]) -> None:
    """A missing answer, an empty one and a failed one are each found."""
    assert _held(_batch(*answers), PACKAGES) == held


def test_a_small_library_is_suspicious() -> None:
    """Fewer than two hundred packages are not the real input."""
    few = PACKAGES[:10]
    assert _held(_batch(*map(_answer, few)), few) == [False, True, True]
