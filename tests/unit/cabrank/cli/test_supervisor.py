"""The children of `cabrank up`: real processes, small ones."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cabrank.cli.fleet_plan import ChildPlan
from cabrank.cli.supervisor import MAX_DEATHS, FleetDied, Supervisor
from shared.retry import Backoff
from tests.fakes.waiting import wait_until

QUICK = Backoff(base_s=0.001, cap_s=0.001, jitter=False)
SLEEPS = "import signal, sys; print('up', flush=True); signal.pause()"
SLEEPS_ON = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
signal.pause()
"""
SAYS_SIGNAL = """
import signal, sys
def told(number, _):
    print("told", number, flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, told)
print("up", flush=True)
signal.pause()
"""


def _child(name: str, program: str) -> ChildPlan:
    return ChildPlan(name, (sys.executable, "-S", "-c", program))


class Fleet:
    """A supervisor at work, and what it said and its children printed."""

    def __init__(self, children: list[ChildPlan], log: Path) -> None:
        self.said: list[str] = []
        self.log = log
        self._output = log.open("wb")
        self.supervisor = Supervisor(
            children,
            self.said.append,
            output=self._output,
            environment={"MARK": "1"},
            backoff=QUICK,
        )
        self.run = asyncio.create_task(self.supervisor.run())

    async def printed(self, text: str, times: int = 1) -> None:
        await wait_until(
            lambda: self.log.read_text().count(text) >= times, f"{text!r} is printed {times} times"
        )

    async def end(self) -> None:
        if not self.run.done():
            self.supervisor.stop(signal.SIGKILL)
        await asyncio.gather(self.run, return_exceptions=True)
        self._output.close()


@asynccontextmanager
async def fleet_of(*children: ChildPlan) -> AsyncGenerator[Fleet]:
    """Run children, and leave none behind."""
    fleet = Fleet(list(children), Path("log"))
    try:
        yield fleet
    finally:
        await fleet.end()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_all_of_them_end_when_told() -> None:
    """One order ends every child; none is left."""
    async with fleet_of(_child("a", SLEEPS), _child("b", SLEEPS)) as fleet:
        await fleet.printed("up", 2)
        pids = fleet.supervisor.pids
        assert sorted(pids) == ["a", "b"]
        fleet.supervisor.stop()
        await fleet.run
        assert not any(map(_lives, pids.values()))
        assert fleet.supervisor.pids == {}
        assert fleet.said == []


async def test_the_signal_is_passed_on() -> None:
    """A child gets the signal that we got, once."""
    async with fleet_of(_child("a", SAYS_SIGNAL)) as fleet:
        await fleet.printed("up")
        fleet.supervisor.stop(signal.SIGINT)
        await fleet.run
        assert fleet.log.read_text().split("\n")[1:] == [f"told {signal.SIGINT.value}", ""]


async def test_a_child_that_dies_is_started_again_and_that_is_said() -> None:
    """Nothing is restarted in silence; the others go on."""
    async with fleet_of(_child("a", SLEEPS), _child("b", SLEEPS)) as fleet:
        await fleet.printed("up", 2)
        before = fleet.supervisor.pids
        os.kill(before["a"], signal.SIGKILL)
        await fleet.printed("up", 3)
        after = fleet.supervisor.pids
        assert after["a"] != before["a"]
        assert after["b"] == before["b"]
        assert fleet.said == ["a ended by SIGKILL; it is started again in 0.001 s"]


async def test_a_child_that_keeps_dying_ends_the_fleet() -> None:
    """The restarts are bounded, and the others are ended too."""
    async with fleet_of(_child("bad", "raise SystemExit(7)"), _child("good", SLEEPS)) as fleet:
        with pytest.raises(FleetDied, match="bad died 6 times in a row, the last with exit code 7"):
            await fleet.run
        assert len(fleet.said) == MAX_DEATHS
        assert fleet.supervisor.pids == {}


async def test_a_child_that_refuses_its_settings_is_not_started_again() -> None:
    """Exit code 2 is a mistake of the configuration; trying again cannot help."""
    async with fleet_of(_child("bad", "raise SystemExit(2)")) as fleet:
        with pytest.raises(FleetDied, match="bad refused to start"):
            await fleet.run
        assert fleet.said == []


async def test_the_second_order_waits_for_nobody() -> None:
    """A child that does not listen is killed when we are told twice."""
    async with fleet_of(_child("deaf", SLEEPS_ON)) as fleet:
        await fleet.printed("up")
        pid = fleet.supervisor.pids["deaf"]
        fleet.supervisor.stop()
        await asyncio.sleep(0)
        assert _lives(pid)
        fleet.supervisor.stop()
        await fleet.run
        assert not _lives(pid)


async def test_children_have_our_environment_and_more() -> None:
    """Variables of the fleet are set over our own."""
    program = "import os, signal; print(os.environ['MARK'], 'PATH' in os.environ, flush=True); signal.pause()"
    async with fleet_of(_child("a", program)) as fleet:
        await fleet.printed("1 True")


async def test_a_fleet_of_nobody_waits_to_be_told() -> None:
    """Without children there is nothing to end."""
    async with fleet_of() as fleet:
        fleet.supervisor.stop()
        await fleet.run
