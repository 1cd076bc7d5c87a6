"""Functions in processes of their own: results, streams, hard kills, deaths, and no process left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.task import Mode, PieceKind
from shared.task_state import TaskStatus
from tests.fakes.manual_clock import ManualClock
from tests.fakes.waiting import wait_until
from tests.unit.worker.isolated_functions import (
    async_where,
    ayields,
    dies,
    emits_too_much,
    exits,
    logs,
    raises,
    spins,
    talks,
    unencodable,
    where,
    yields,
)
from tests.unit.worker.workbench import Workbench, workbench
from worker import Function
from worker.processes import ProcessDied, ProcessPool, ProcessRun


def _alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie that its parent has not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def _run(bench: Workbench, called: Function[..., object], given: bytes = b"{}") -> object:
    sink, _ = bench.submit(called, given)
    outcome = await sink.end()
    assert outcome.failure is None, outcome.failure
    return None if outcome.result is None else json.loads(outcome.result)


async def test_a_warm_child_runs_one_attempt_after_another() -> None:
    """The function is in another process, and the next attempt finds it there."""
    async with workbench(where, async_where) as bench:
        first = await _run(bench, where)
        assert first != os.getpid()
        assert await _run(bench, where) == first
        assert await _run(bench, async_where, b'{"word":"x"}') == {"pid": first, "word": "x"}
        assert bench.processes.children == 1
    assert bench.processes.children == 0
    assert isinstance(first, int)
    assert not _alive(first)


async def test_a_child_streams() -> None:
    """Generators of both kinds, pieces in order, the return value at the end."""
    async with workbench(yields, ayields) as bench:
        sink, _ = bench.submit(yields, b'{"count":3}', mode=Mode.STREAM)
        assert (await sink.end()).result == b'"end"'
        assert [text[:5] for text in sink.texts] == ["00000", "00001", "00002"]
        sink, _ = bench.submit(ayields, b'{"count":2}', mode=Mode.STREAM)
        assert (await sink.end()).result is None
        assert [(piece.kind, piece.data) for piece in sink.pieces] == [
            (PieceKind.JSON, b'{"n":0}'),
            (PieceKind.JSON, b'{"n":1}'),
        ]


async def test_a_slow_reader_slows_a_child_down_and_one_that_leaves_kills_it() -> None:
    """The pipe fills up while nobody reads; a hundred megabytes are not made in advance."""
    async with workbench(yields, limit=1) as bench:
        sink, task = bench.submit(yields, b'{"count":10000}', mode=Mode.STREAM)
        await wait_until(lambda: len(sink.pieces) >= 26, "the credit is used up")
        assert len(sink.pieces) < 40
        for piece in list(sink.pieces):
            bench.engine.grant(task.id, len(piece.data))
        await wait_until(lambda: len(sink.pieces) >= 50, "granted pieces come")
        bench.engine.cancel(task.id)
        await wait_until(lambda: bench.engine.slots().used == 0, "the child is gone")
        assert bench.processes.children == 0


async def test_the_context_works_in_a_child() -> None:
    """Pieces, progress, events, log lines and every fact of the task."""
    async with workbench(talks) as bench:
        with capture_logs() as lines:
            sink, _ = bench.try_submit(talks, mode=Mode.STREAM, metadata=b'{"k":1}')
            outcome = await sink.end()
    assert outcome.result is not None
    assert json.loads(outcome.result) == {
        "task": "task-1",
        "attempt": 1,
        "token": "boot-1",
        "correlation": "corr-1",
        "metadata": {"k": 1},
        "limited": True,
        "cancelled": False,
    }
    assert [piece.kind for piece in sink.pieces] == [PieceKind.PROGRESS, PieceKind.TEXT]
    logged = [line for line in lines if line["event"] == "a line of the child"]
    assert logged
    assert (logged[0]["word"], logged[0]["task_id"]) == ("logged", "task-1")


FAILURES = [
    (raises, b"{}", "function_error", "looked in vain", "LookupError"),
    (exits, b"{}", "function_error", "enough", "SystemExit"),
    (unencodable, b"{}", "function_error", "The return value has no JSON form", "TypeError"),
    (async_where, b'{"word":1}', "invalid_params", "Invalid type for param: word", None),
    (
        dies,
        b'{"how":"exit"}',
        "function_error",
        "The process of the function ended with exit code 7",
        "ProcessDied",
    ),
    (
        dies,
        b'{"how":"kill"}',
        "function_error",
        "The process of the function was killed by SIGKILL",
        "ProcessDied",
    ),
]


@pytest.mark.parametrize(("called", "given", "code", "message", "error_type"), FAILURES)
async def test_a_child_fails(
    called: Function[..., object], given: bytes, code: str, message: str, error_type: str | None
) -> None:
    """A function that fails in its process fails like any other; a death is a failure of its own."""
    async with workbench(called, where, limit=1) as bench:
        with capture_logs():
            sink, _ = bench.submit(called, given)
            outcome = await sink.end()
            await _run(bench, where)
    assert outcome.failure is not None
    assert outcome.failure.code == code
    assert outcome.failure.message.startswith(message)
    assert outcome.failure.error_type == error_type


@pytest.mark.parametrize("how", ["names", "surrogates"])
async def test_whatever_a_child_logs_its_attempt_goes_on(how: str) -> None:
    """A field named like a parameter of ours, or a file name that is no UTF-8, ends no attempt."""
    async with workbench(logs, limit=1) as bench:
        with capture_logs():
            assert await _run(bench, logs, json.dumps({"how": how}).encode()) == how


async def test_an_event_that_is_too_large_is_the_function_s_failure_in_a_child_too() -> None:
    """It is told at the call, and the slot is free."""
    async with workbench(emits_too_much, limit=1) as bench:
        with capture_logs():
            sink, _ = bench.submit(emits_too_much)
            outcome = await sink.end()
    assert outcome.failure is not None
    assert outcome.failure.error_type == "ContextMisuse"


async def test_a_child_that_says_what_cannot_be_used_ends_its_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever goes wrong between worker and child, the slot comes back."""

    async def broken(run: ProcessRun, message: object) -> None:
        raise LookupError("a bug of ours")

    monkeypatch.setattr(ProcessRun, "_relay", broken)
    async with workbench(talks, limit=1) as bench:
        with capture_logs():
            sink, _ = bench.submit(talks, mode=Mode.STREAM)
            outcome = await sink.end()
        assert bench.processes.children == 0
    assert outcome.failure is not None
    assert outcome.failure.code == "internal_error"


async def test_a_time_out_kills_the_child_and_what_it_started(tmp_path: Path) -> None:
    """CPU-bound code is gone before its slot is free, with its own children (hard kill)."""
    marker = tmp_path / "pids"
    async with workbench(spins, limit=1) as bench:
        given = json.dumps({"marker": str(marker)}).encode()
        sink, _ = bench.submit(spins, given, timeout_s=1)
        await wait_until(lambda: marker.exists() and marker.read_text().count(" "), "it computes")
        bench.pass_time(1)
        assert sink.outcomes[0].status is TaskStatus.TIMED_OUT
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")
        pids = [int(pid) for pid in marker.read_text().split()]
        await wait_until(lambda: not any(map(_alive, pids)), "both processes are gone")
        assert bench.engine.slots().stuck == 0


async def test_an_attempt_cancelled_while_its_child_starts_runs_nothing() -> None:
    """The child is not wasted, and the slot is free."""
    async with workbench(where, limit=1) as bench:
        sink, task = bench.submit(where)
        bench.engine.cancel(task.id)
        assert sink.outcomes[0].status is TaskStatus.CANCELLED
        await wait_until(lambda: bench.engine.slots().used == 0, "the slot is free")


async def test_the_limit_of_a_run_counts_from_its_beginning() -> None:
    """Starting a process takes its time; it is not the function's."""
    async with workbench(where) as bench:
        sink, _ = bench.submit(where, timeout_s=1)
        bench.pass_time(0.9)
        bench.pass_time(0.9)
        assert (await sink.end()).ok


async def test_children_are_kept_ready_and_replaced() -> None:
    """A warm child waits before the first attempt; after a death another one is made ready."""
    pool = ProcessPool(ManualClock(), [where], warm=1)
    pool.prepare()
    await wait_until(lambda: pool.ready == 1, "a child is ready")
    child = await pool.take()
    await pool.discard(child)
    await wait_until(lambda: pool.ready == 1, "another one is ready")
    await pool.close()
    assert pool.children == 0


async def test_an_idle_child_that_died_is_replaced() -> None:
    """The attempt that comes next does not notice."""
    async with workbench(where) as bench:
        first = await _run(bench, where)
        assert isinstance(first, int)
        os.kill(first, signal.SIGKILL)
        (child,) = bench.processes._idle  # pyright: ignore[reportPrivateUsage]  # its end is noticed late
        await wait_until(lambda: not child.alive, "its end is known")
        assert await _run(bench, where) not in (None, first)


async def test_a_child_starts_no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without a main guard, loaded in a child, does not start itself without end."""
    monkeypatch.setattr(ProcessPool, "allowed", False)
    with pytest.raises(ProcessDied, match="starts no processes"):
        await ProcessPool(ManualClock()).take()
