"""The demo from start to end: the fleet, the three modes, the checks, and what to try next."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cabrank.cli.config import STATE_DIRECTORY
from cabrank.cli.demo import batch, hook, walk
from cabrank.cli.demo.checks import Check
from cabrank.cli.demo.commands import try_lines
from cabrank.cli.demo.report import Report
from cabrank.cli.fleet_plan import FleetPlan, UpOptions, plan_fleet, write_workers_file
from cabrank.cli.supervisor import FleetDied, Supervisor
from cabrank.cli.up import signals_stop, until_ready
from shared.client import Client
from shared.errors import CabrankError, ConfigError
from shared.system import SystemIds

if TYPE_CHECKING:
    from rich.console import Console

HOST = "127.0.0.1"
WORKERS = 2
SLOTS = 10
START_S = 60.0  # a cold start on a slow machine: three interpreters import everything
LAST_LINES = 30  # of the processes' log, shown when something failed
EXIT_FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The options of `cabrank demo`.

    Attributes:
        leave: end when the work is done.
        port: the balancer's; 0 takes a free one.
        worker_port: the first worker's; 0 takes free ones.
        functions: folder of the example functions.
    """

    leave: bool = False
    port: int = 4000
    worker_port: int = 3000
    functions: Path | None = None


def run_demo(options: DemoOptions, console: Console) -> int:
    """Run the demo; return 0 when every check held.

    Raises:
        ConfigError: a port is taken, or the example functions are not there.
    """
    functions = options.functions or _example_functions()
    folder = STATE_DIRECTORY / f"demo-{options.port}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    plan = plan_fleet(
        UpOptions(
            host=HOST,
            port=options.port,
            workers=WORKERS,
            worker_port=options.worker_port,
            slots=SLOTS,
            functions=functions,
            store=f"sqlite:///{folder / 'tasks.db'}",
            workers_file=folder / "workers.json",
        ),
        command="cabrank demo",
    )
    write_workers_file(plan)
    code = asyncio.run(_Session(options, plan, folder, Report(console)).run())
    if options.leave and code == 0:
        shutil.rmtree(folder)
    return code


def _example_functions() -> Path:
    """Return the examples of the checkout: of the folder we are in, else of the one we run from."""
    import cabrank

    for root in (Path.cwd(), Path(cabrank.__file__).parents[1]):
        folder = root / "examples" / "functions"
        if folder.is_dir():
            return folder
    raise ConfigError(
        "The demo needs the folder examples/functions of a checkout; name it with --functions DIR"
    )


class _Session:
    """One demo: owns the fleet while it runs."""

    def __init__(self, options: DemoOptions, plan: FleetPlan, folder: Path, report: Report) -> None:
        self._leave = options.leave
        self._plan = plan
        self._log = folder / "processes.log"
        self._report = report
        self._secret = hook.new_webhook_secret()

    async def run(self) -> int:
        """Run the fleet and the work; return the exit code."""
        # Loopback is where the demo's own receiver listens, whatever the environment allows.
        environment = {"WEBHOOK_SECRET": self._secret, "WEBHOOK_ALLOW_PRIVATE": "true"}
        with self._log.open("wb") as output:  # a local file, before anything runs
            supervisor = Supervisor(
                self._plan.children, self._report.line, output=output, environment=environment
            )
            with signals_stop(supervisor):
                fleet = asyncio.create_task(supervisor.run())
                work = asyncio.create_task(self._work())
                await asyncio.wait({fleet, work}, return_when=asyncio.FIRST_COMPLETED)
                held = await self._held(work)
                if held is None or self._leave or not held:
                    supervisor.stop()
                return await self._end(fleet, held=bool(held))

    async def _held(self, work: asyncio.Task[bool]) -> bool | None:
        """Return whether every check held; None when the fleet ended before the work."""
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            return None
        try:
            return work.result()
        except CabrankError as exc:
            self._report.line(f"The demo failed: {exc.message} ({exc.code})")
            return False

    async def _end(self, fleet: asyncio.Task[None], *, held: bool) -> int:
        """Wait for the fleet to end; return the exit code."""
        try:
            await fleet
        except FleetDied as exc:
            self._report.line(f"The fleet cannot be kept running: {exc}")
            held = False
        if not held:
            self._show_log()
        return 0 if held else EXIT_FAILED

    def _show_log(self) -> None:
        lines = self._log.read_text("utf-8", "replace").splitlines()
        self._report.title(f"The last lines of {self._log}")
        for line in lines[-LAST_LINES:]:
            self._report.line(line)

    async def _work(self) -> bool:
        """Put real tasks through all three modes; return whether every check held."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        self._report.title(f"Starting a balancer and {WORKERS} workers of {SLOTS} slots")
        for child in self._plan.children:
            self._report.line(f"  {child.name}")
        self._report.line(f"Their logs go to {self._log}")
        try:
            await asyncio.wait_for(until_ready(self._plan, self._plan.worker_ids), START_S)
        except TimeoutError:
            self._report.line(f"The fleet was not ready within {START_S:g} s")
            return False
        self._report.line(f"Ready at {self._plan.url} after {loop.time() - started_s:.2f} s")
        async with Client(self._plan.url, key=self._plan.key) as client:
            checks = await self._three_modes(client)
        self._report.title("Checked")
        self._report.checks(checks)
        held = all(check.held for check in checks)
        if held and not self._leave:
            self._say_what_to_try()
        return held

    async def _three_modes(self, client: Client) -> list[Check]:
        packages = await self._list(client)
        stats = await self._batch(client, packages)
        biggest = stats.most_files()
        walked = await self._walk(client, biggest)
        hooked = await self._hook(client)
        return [
            *batch.check_batch(stats, packages),
            *walk.check_walk(walked, biggest),
            *hook.check_hook(hooked),
        ]

    async def _list(self, client: Client) -> list[str]:
        loop = asyncio.get_running_loop()
        self._report.title("sync: one call, one answer")
        self._report.sent('POST /task {"function": "list_packages", "contract": 1}')
        started_s = loop.time()
        packages: list[str] = await client.call("list_packages")
        self._report.came_back(loop.time() - started_s, packages)
        return packages

    async def _batch(self, client: Client, packages: list[str]) -> batch.Batch:
        self._report.title(
            f"sync: {batch.FUNCTION} for each of {len(packages)} packages, "
            f"{batch.CONCURRENCY} calls at one time, priorities {batch.PRIORITIES}"
        )
        sample = packages[len(packages) // 2]
        with self._report.batch(len(packages)) as advance:
            stats = await batch.run_batch(client, packages, SystemIds().next_id(), advance)
        answer = next(each for each in stats.answers if each.package == sample)
        self._report.sent(
            f'POST /task {{"function": "{batch.FUNCTION}", "contract": 1, '
            f'"input": {{"package": "{sample}"}}, "priority": {answer.priority}}}  (one of them)'
        )
        self._report.came_back(answer.took_s, answer.stats or answer.error)
        self._report.batch_done(stats)
        return stats

    async def _walk(self, client: Client, package: batch.Answer) -> walk.Walk:
        self._report.title(f"stream: {walk.FUNCTION} over {package.package}, a piece for each file")
        self._report.sent(
            f'POST /task {{"function": "{walk.FUNCTION}", "contract": 1, "mode": "stream", '
            f'"input": {{"package": "{package.package}"}}}}'
        )
        walked = await walk.run_walk(client, package, self._report.piece)
        self._report.walk_done(walked)
        return walked

    async def _hook(self, client: Client) -> hook.Hooked:
        self._report.title(
            f"webhook: {hook.FUNCTION}, its signed result posted to a receiver of ours"
        )
        async with hook.Receiver(self._secret) as receiver:
            self._report.sent(
                f'POST /task {{"function": "{hook.FUNCTION}", "contract": 1, "mode": "webhook", '
                f'"input": {{"below": {hook.BELOW}}}, "webhook": {{"url": "{receiver.url}"}}}}'
            )
            hooked = await hook.run_hook(client, receiver)
        self._report.hook_done(hooked)
        return hooked

    def _say_what_to_try(self) -> None:
        self._report.title("Try it (Ctrl-C ends the fleet)")
        self._report.try_it(try_lines(self._plan))
