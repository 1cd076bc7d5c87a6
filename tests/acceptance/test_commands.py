"""The command line, as a person and as a program use it."""

from __future__ import annotations

import asyncio
import json
import signal
from importlib.metadata import version

import psutil
import pytest

from cabrank import Client
from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import FUNCTIONS, LB_KEY, PATIENCE_S, QUICK, Bench, Running, cabrank
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance


async def ended_well(process: Running) -> str:
    """Wait for a command that must end with 0; return what it said."""
    assert await process.ended() == 0, process.text()
    return process.text()


def children(process: Running) -> list[psutil.Process]:
    """Return what a process has started."""
    return psutil.Process(process.pid).children()


async def test_up_runs_a_fleet_that_submit_and_workers_talk_to(
    bench: Bench, hooks: HookReceiver
) -> None:
    """Three modes from a shell, the fleet as JSON; what dies is started again; Ctrl-C ends them all."""
    options = ("--port", "0", "--worker-port", "0", "--slots", "2", "--functions", str(FUNCTIONS))
    up = bench.start("up", cabrank("up", *options, "--store", "sqlite:///up.db"), QUICK)
    url = up.ready()
    bench.open_gate("stream")
    folder = f"folder={bench.folder}"
    called, streamed, handed, fleet, told = await asyncio.gather(
        *(
            ended_well(bench.start(f"typed-{n}", cabrank(*argv), {"CABRANK_URL": url}))
            for n, argv in enumerate(
                [
                    ("submit", "note", folder, "name=sync", "--json"),
                    ("submit", "drip", folder, "name=stream", "--mode", "stream"),
                    ("submit", "note", folder, "name=hook", "--webhook", hooks.url(), "--json"),
                    ("workers", "--json"),
                    ("--version",),
                ]
            )
        )
    )
    assert json.loads(called)["name"] == "sync"
    assert streamed == "first\nlast\n"
    assert [(each["status"], each["slots"]["limit"]) for each in json.loads(fleet)] == [
        ("ready", 2),
        ("ready", 2),
    ]
    assert told == f"cabrank {version('cabrank')}\n"
    await wait_until(lambda: hooks.received, "the webhook comes")
    assert json.loads(handed)["task_id"] in hooks.received[0].headers["webhook-id"]

    killed = next(each for each in children(up) if "worker" in each.cmdline())
    killed.kill()
    await wait_until(lambda: "by SIGKILL" in up.text(), "the death is told")
    await wait_until(lambda: len(children(up)) == 3, "its successor is started")

    async def ready() -> bool:
        async with Client(url, key=LB_KEY) as client:
            return [each.status for each in await client.workers()] == ["ready", "ready"]

    await wait_until(ready, "both workers are ready", PATIENCE_S)

    family = children(up)
    up.send(signal.SIGINT)
    assert await up.ended() == 0
    assert not any(each.is_running() for each in family)


async def test_a_command_that_fails_says_so_by_its_code(bench: Bench) -> None:
    """Nobody there, or a function that raises: 1 and one line; a wrong option: 2."""
    nobody = bench.start("nobody", cabrank("submit", "hello", "--url", "http://127.0.0.1:9"))
    wrong = bench.start("wrong", cabrank("submit", "hello", "--priority", "high"))
    assert await nobody.ended() == 1
    assert "(unreachable)" in nobody.text()
    assert "Traceback" not in nobody.text()
    assert await wrong.ended() == 2
    assert LB_KEY not in nobody.text() + wrong.text()
