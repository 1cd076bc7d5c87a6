"""The command line from its arguments to what is printed and its exit code."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import NamedTuple

import pytest

from cabrank.cli import main
from cabrank.cli.ports import free_ports
from shared.task import Piece, PieceKind
from tests.fakes.contract_server import KEY, ContractServer, Input, echo, fail, nothing


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Awaitable[Ran]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a thread, while this loop serves it."""

    async def running(*args: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["cabrank", *args])
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main)
        printed = capfd.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, printed.out, printed.err)

    return running


async def _pieces(given: Input) -> AsyncIterator[Piece]:
    yield Piece(1, PieceKind.TEXT, b"one\n")
    yield Piece(2, PieceKind.PROGRESS, b'{"done":1}')
    yield Piece(3, PieceKind.JSON, b'{"n":2}')


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ContractServer]:
    """A server that the environment names."""
    async with ContractServer() as server:
        server.calls = {"echo": echo, "fail": fail, "nothing": nothing}
        server.streams = {"pieces": _pieces}
        monkeypatch.setenv("CABRANK_URL", server.url)
        monkeypatch.setenv("LB_AUTH_KEY", KEY)
        yield server


async def test_the_version(run: Run) -> None:
    """`--version` prints it and nothing else."""
    assert await run("--version") == Ran(0, f"cabrank {version('cabrank')}\n", "")


async def test_help_lists_the_commands(run: Run) -> None:
    """Every command has a line of help."""
    printed = (await run("--help")).out
    for name in ("up", "balancer", "worker", "demo", "submit", "workers", "--install-completion"):
        assert name in printed


async def test_submit_prints_the_result(server: ContractServer, run: Run) -> None:
    """Pairs are the input, JSON for people is indented."""
    ran = await run("submit", "echo", "name=Ada", "n=3", "--priority", "5")
    assert (ran.code, json.loads(ran.out), ran.err) == (0, {"name": "Ada", "n": 3}, "")
    assert "\n  " in ran.out
    assert server.bodies[0]["priority"] == 5


async def test_submit_for_programs(server: ContractServer, run: Run) -> None:
    """--json is one line; --input is the whole input; every option reaches the task."""
    ran = await run(
        "submit", "echo", "--input", '{"a": [1]}', "--json", "--group", "g", "--contract", "2",
        "--timeout", "1.5", "--deadline", "9",
    )  # fmt: skip
    assert ran == Ran(0, '{"a":[1]}\n', "")
    sent = server.bodies[0]
    assert (sent["group"], sent["contract"]) == ("g", 2)
    assert (sent["timeout_s"], sent["deadline_s"]) == (1.5, 9)


async def test_submit_of_nothing_prints_nothing(server: ContractServer, run: Run) -> None:
    """A function that returns nothing leaves standard output empty; for programs it is null."""
    assert await run("submit", "nothing") == Ran(0, "", "")
    assert await run("submit", "nothing", "--json") == Ran(0, "null\n", "")


async def test_submit_streams(server: ContractServer, run: Run) -> None:
    """Pieces are printed as they are; progress is not among them."""
    assert await run("submit", "pieces", "--mode", "stream") == Ran(0, 'one\n{"n":2}\n', "")


async def test_submit_streams_for_programs(server: ContractServer, run: Run) -> None:
    """--json prints one event a line, the result last."""
    ran = await run("submit", "pieces", "--mode", "stream", "--json")
    assert [json.loads(line)["event"] for line in ran.out.splitlines()] == [
        "chunk", "progress", "chunk", "result",
    ]  # fmt: skip


async def test_submit_hands_over(server: ContractServer, run: Run) -> None:
    """A URL means mode webhook; the task's id is told."""
    ran = await run("submit", "echo", "--webhook", "http://h/x")
    assert ran.code == 0
    assert "task-1" in ran.out
    ran = await run("submit", "echo", "--mode", "webhook", "--webhook", "http://h/x", "--json")
    assert json.loads(ran.out) == {"task_id": "task-2"}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["submit", "fail", "text=no luck"], 1, "no luck (function_error)"),
        (["submit", "nope"], 1, "Function 'nope' not found (function_not_found)"),
        (["submit", "echo", "Ada"], 1, "Expected name=value"),
        (["submit", "echo", "--mode", "webhook"], 1, "go together"),
        (["submit", "echo", "--mode", "sync", "--webhook", "http://h"], 1, "go together"),
        (["submit", "echo", "--key", "wrong"], 1, "give --key"),
        (["submit", "echo", "--url", "nowhere"], 1, "expected http://host:port"),
        (["submit", "echo", "--mode", "loud"], 2, "loud"),
        (["nonsense"], 2, "nonsense"),
        (["up", "--workers", "300"], 2, "--workers"),
    ],
)
async def test_what_goes_wrong_is_said(
    server: ContractServer, run: Run, args: list[str], code: int, said: str
) -> None:
    """A message on standard error and an exit code; never a traceback."""
    ran = await run(*args)
    assert ran.code == code
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


async def test_nobody_listens(run: Run) -> None:
    """The address that was tried is named, and how to give another."""
    [port] = free_ports("127.0.0.1", 1)
    ran = await run("workers", "--url", f"http://127.0.0.1:{port}")
    assert ran.code == 1
    assert f"127.0.0.1:{port} could not be reached" in ran.err
    assert "--url" in ran.err


async def test_workers(server: ContractServer, run: Run) -> None:
    """The table is for people, --json for programs; without a terminal no line is broken."""
    names = [f"function_{n:02}" for n in range(30)]
    server.workers = [
        {"id": "a:1", "url": "http://a:1", "status": "ready", "functions": [{"name": name} for name in names]}
    ]  # fmt: skip
    lines = (await run("workers")).out.splitlines()
    assert len(lines) == 2
    assert ", ".join(names) in lines[1]
    [worker] = json.loads((await run("workers", "--json")).out)
    assert worker["id"] == "a:1"


async def test_a_port_that_does_not_exist(run: Run) -> None:
    """The demo's mistakes are said before anything is started."""
    ran = await run("demo", "--functions", "nowhere", "--port", "99999")
    assert ran.code == 2
    assert "PORT" in ran.err
