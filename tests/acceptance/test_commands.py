"""The command line, as a person and as a program use it."""

from __future__ import annotations

import asyncio
import json
import signal
from importlib.metadata import version

import psutil
import pytest

from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import FUNCTIONS, LB_KEY, PATIENCE_S, Bench, Running, cabrank
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance


async def ended_well(process: Running) -> str:
    """Wait for a command that must end with 0; return what it said."""
    assert await process.ended() == 0, process.text()
    return process.text()


async def up(bench: Bench) -> tuple[Running, str]:
    """Start a fleet by `cabrank up`; return it and its address when it is ready."""
    options = ("--port", "0", "--worker-port", "0", "--slots", "2", "--functions", str(FUNCTIONS))
    process = bench.start(
        "up", cabrank("up", *options, "--workers", "2", "--store", "sqlite:///up.db"),
        WORKER_DISCOVERY_INTERVAL="50",
    )  # fmt: skip
    await wait_until(lambda: "Ready: balancer" in process.text(), "the fleet is ready", PATIENCE_S)
    return process, process.text().partition("Ready: balancer ")[2].partition(",")[0]


def children(process: Running) -> dict[int, str]:
    """Return the command lines of a process's children, by pid."""
    return {each.pid: " ".join(each.cmdline()) for each in psutil.Process(process.pid).children()}


async def test_up_starts_a_fleet_that_submit_and_workers_talk_to(
    bench: Bench, hooks: HookReceiver
) -> None:
    """Three modes from a shell; the fleet as a table and as JSON; Ctrl-C ends every process."""
    process, url = await up(bench)
    family = children(process)
    assert len(family) == 3
    here = {"CABRANK_URL": url}
    gate = ("note", f"folder={bench.folder}")
    stream = ("drip", f"folder={bench.folder}", "name=stream")
    bench.open_gate("stream")
    texts = await asyncio.gather(
        *(
            ended_well(bench.start(f"typed-{n}", cabrank(*argv), **here))
            for n, argv in enumerate(
                [
                    ("submit", *gate, "name=sync", "--json"),
                    ("submit", *stream, "--mode", "stream"),
                    ("submit", *gate, "name=hook", "--webhook", hooks.url(), "--json"),
                    ("workers", "--json"),
                    ("workers",),
                    ("--version",),
                ]
            )
        )
    )
    called, streamed, handed, fleet, table, told = texts
    assert json.loads(called)["name"] == "sync"
    assert streamed == "first\nlast\n"
    shown = json.loads(fleet)
    assert [(each["status"], each["slots"]["limit"]) for each in shown] == [("ready", 2)] * 2
    assert all(each["id"] in table for each in shown)
    assert told == f"cabrank {version('cabrank')}\n"
    await wait_until(lambda: hooks.received, "the webhook comes")
    assert json.loads(handed)["task_id"] in hooks.received[0].headers["webhook-id"]

    process.send(signal.SIGINT)
    assert await process.ended() == 0
    assert not any(psutil.pid_exists(pid) for pid in family)


async def test_up_starts_again_what_dies(bench: Bench) -> None:
    """A worker that is killed is said to be, and is back on its port with its slots."""
    process, url = await up(bench)
    pid = next(pid for pid, argv in children(process).items() if " worker " in argv)
    psutil.Process(pid).kill()
    await wait_until(lambda: "by SIGKILL" in process.text(), "the death is told")

    async def ready() -> bool:
        reply = await bench.request("GET", "/workers", url=url)
        workers = reply.json["workers"]
        assert isinstance(workers, list)
        return [each["status"] for each in workers] == ["ready", "ready"]  # pyright: ignore[reportUnknownVariableType]

    await wait_until(lambda: len(children(process)) == 3, "its successor is started")
    await wait_until(ready, "both workers are ready", PATIENCE_S)
    assert pid not in children(process)


async def test_a_command_that_fails_says_so_by_its_code(bench: Bench) -> None:
    """Nobody there, or a function that raises: 1 and one line; a wrong option: 2."""
    nobody = bench.start("nobody", cabrank("submit", "hello", "--url", "http://127.0.0.1:9"))
    wrong = bench.start("wrong", cabrank("submit", "hello", "--priority", "high"))
    assert await nobody.ended() == 1
    assert "(unreachable)" in nobody.text()
    assert "Traceback" not in nobody.text()
    assert await wrong.ended() == 2
    assert LB_KEY not in nobody.text() + wrong.text()
