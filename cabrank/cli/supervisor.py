"""Keeps the child processes of `cabrank up` running, and ends every one of them by its own pid.

A child that dies is started again after a backoff, and that is said; one that dies too often, or
that refuses its settings (exit code 2), ends the whole fleet.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from shared.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cabrank.cli.fleet_plan import ChildPlan

EXIT_CONFIG = 2  # of balancer and worker: a setting is wrong, so starting again cannot help
BACKOFF = Backoff(base_s=0.5, cap_s=10.0, jitter=False)
MAX_DEATHS = 5  # in a row; more is not bad luck
STEADY_S = 60.0  # a child that lived so long starts counting anew
GRACE_S = 35.0  # TERMINATION_GRACE of the processes (30 s) and a little


class FleetDied(Exception):
    """The fleet cannot be kept running; the text says why."""


class Supervisor:
    """Starts children, restarts those that die, passes signals on.

    Args:
        children: what to start, in this order.
        say: tells a person what happened.
        output: where the children's output goes; None leaves it where ours goes.
        environment: variables over those that we have ourselves.
        backoff: waits before a child is started again.
    """

    def __init__(
        self,
        children: Sequence[ChildPlan],
        say: Callable[[str], None],
        *,
        output: IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._children = children
        self._say = say
        self._output = output
        self._environment = {**os.environ, **(environment or {})}
        self._backoff = backoff
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._signal: int = signal.SIGTERM

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids of the children that run, by name."""
        return {name: process.pid for name, process in self._running.items()}

    async def run(self) -> None:
        """Keep the children running until `stop` is called; end them all before returning.

        Raises:
            FleetDied: a child cannot be kept running.
        """
        keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
        stopped = asyncio.create_task(self._until_stopped())
        try:
            done, _ = await asyncio.wait({*keepers, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._stopping.set()
            self._send(self._signal)
            await self._end(keepers)
            await asyncio.gather(*keepers, stopped, return_exceptions=True)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Let `run` end by passing a signal on; the second time nobody is waited for."""
        if self._stopping.is_set():
            self._send(signal.SIGKILL)
        self._signal = number
        self._stopping.set()

    async def _until_stopped(self) -> None:
        await self._stopping.wait()

    async def _keep(self, child: ChildPlan) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stopping.is_set():
            started_s = loop.time()
            code = await self._live(child)
            if self._stopping.is_set():
                return
            if code == EXIT_CONFIG:
                raise FleetDied(f"{child.name} refused to start; its message is above")
            deaths = 1 if loop.time() - started_s >= STEADY_S else deaths + 1
            if deaths > MAX_DEATHS:
                raise FleetDied(f"{child.name} died {deaths} times in a row, the last {_how(code)}")
            wait_s = self._backoff.bound_s(deaths)
            self._say(f"{child.name} ended {_how(code)}; it is started again in {wait_s:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)

    async def _live(self, child: ChildPlan) -> int:
        """Start a child and return its exit code when it has ended."""
        process = await asyncio.create_subprocess_exec(
            *child.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=self._environment,
            # Out of the terminal's foreground group: Ctrl-C reaches the child once, through us.
            process_group=0,
        )
        self._running[child.name] = process
        if self._stopping.is_set():  # while it was being started
            process.send_signal(self._signal)
        code = await process.wait()
        del self._running[child.name]
        return code

    async def _end(self, keepers: list[asyncio.Task[None]]) -> None:
        """Wait until every child has ended; kill what has not after the grace."""
        if not keepers:
            return
        _, late = await asyncio.wait(keepers, timeout=GRACE_S)
        if late:
            self._say(f"{len(late)} processes did not end within {GRACE_S:g} s; they are killed")
            self._send(signal.SIGKILL)
            await asyncio.wait(late)

    def _send(self, number: int) -> None:
        for process in self._running.values():
            if process.returncode is None:
                process.send_signal(number)


def _how(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
