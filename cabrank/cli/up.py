"""`cabrank up`: a balancer and its workers in one command, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cabrank.cli.fleet_plan import plan_fleet, write_workers_file
from cabrank.cli.supervisor import FleetDied, Supervisor
from shared.client import Client
from shared.errors import CabrankError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from cabrank.cli.fleet_plan import FleetPlan, UpOptions

EXIT_DIED = 1
LOOK_INTERVAL_S = 0.1  # between looks at a fleet that is starting


def run_up(options: UpOptions, say: Callable[[str], None]) -> int:
    """Run a whole fleet until it is told to stop; return the exit code.

    Raises:
        ConfigError: a setting is wrong, or a port is taken.
    """
    plan = plan_fleet(options)
    if options.workers_file is None:
        write_workers_file(plan)
    # Of a fleet that somebody else listed we cannot know which of its workers are up.
    awaited = plan.worker_ids if options.workers_file is None else ()
    return asyncio.run(_serve(plan, awaited, say))


async def _serve(plan: FleetPlan, awaited: Sequence[str], say: Callable[[str], None]) -> int:
    supervisor = Supervisor(plan.children, say)
    with signals_stop(supervisor):
        ready = asyncio.create_task(_say_when_ready(plan, awaited, say))
        try:
            await supervisor.run()
        except FleetDied as exc:
            say(f"The fleet cannot be kept running: {exc}")
            return EXIT_DIED
        finally:
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)
    say("All processes have ended")
    return 0


@contextmanager
def signals_stop(supervisor: Supervisor) -> Generator[None]:
    """Pass SIGINT and SIGTERM on to the children, and end with them."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, supervisor.stop, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def until_ready(plan: FleetPlan, awaited: Sequence[str]) -> None:
    """Return once the balancer answers and the awaited workers take tasks.

    Raises:
        Unauthorized: the balancer has another key.
    """
    async with Client(plan.url, key=plan.key, retries=0, timeout_s=5) as client:
        while True:
            if await _is_ready(client, awaited):
                return
            await asyncio.sleep(LOOK_INTERVAL_S)


async def _is_ready(client: Client, awaited: Sequence[str]) -> bool:
    try:
        workers = await client.workers()
    except CabrankError as exc:
        if exc.code == "unauthorized":
            raise
        return False
    ready = {worker.id for worker in workers if worker.status == "ready"}
    return ready.issuperset(awaited)


async def _say_when_ready(
    plan: FleetPlan, awaited: Sequence[str], say: Callable[[str], None]
) -> None:
    try:
        await until_ready(plan, awaited)
    except CabrankError as exc:
        say(f"The balancer at {plan.url} refuses its key: {exc.message}")
    else:
        count = len(plan.worker_ids)
        say(f"Ready: balancer {plan.url}, {count} worker{'s' * (count != 1)}; Ctrl-C ends them all")
