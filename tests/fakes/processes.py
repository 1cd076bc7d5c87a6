"""Real processes of Cabrank, driven from outside as an operator would: by command, signal and port.

`Running` is one process, `Bench` a fleet in one folder. Every port is a free one that the process took
itself, every process is ended by its own pid.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import aiohttp
import psutil

from cabrank import Client
from tests.fakes.waiting import wait_until, wait_until_sync

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "tests/acceptance/functions"
START_S = 30.0  # a cold start on a busy machine
PATIENCE_S = 20.0  # for what takes a moment on a quiet machine
LISTENING = re.compile(r"^listening on (http://\S+)", re.MULTILINE)
READY = re.compile(r"Ready: balancer (http://\S+),")
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
LB_KEY = "acceptance-lb-key"
AUTH_KEY = "acceptance-auth-key"
DEFAULTS: Mapping[str, str] = {}  # settings as they are shipped
# Looks that are quick make tests that are quick; what is promised does not depend on them.
QUICK = {"WORKER_DISCOVERY_INTERVAL": "50", "RESUME_WINDOW": "500"}


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what a process is given: nothing of ours that could be taken for a setting."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **variables}


def cabrank(*arguments: str) -> tuple[str, ...]:
    """Return the command line of a `cabrank` command."""
    return (sys.executable, "-m", "cabrank.cli", *arguments)


class Running:
    """One process, from its start to its end; what it says goes to a file.

    Args:
        name: names the file.
        argv: its command line.
        folder: its working directory.
        variables: its whole environment.
    """

    def __init__(
        self, name: str, argv: Sequence[str], folder: Path, variables: Mapping[str, str]
    ) -> None:
        self.name = name
        self.url = ""
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as output:
            self._begin = output.tell()
            self._popen = subprocess.Popen(
                argv, cwd=folder, env=variables, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._popen.pid

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def id(self) -> str:
        """Return `host:port`: what balancers call a worker."""
        return self.url.removeprefix("http://")

    def text(self) -> str:
        """Return what it has said so far."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode("utf-8", "replace")

    def code(self) -> int | None:
        """Return its exit code, negative for a signal; None while it lives."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would: kill -9."""
        self._popen.kill()
        self._popen.wait()

    async def frozen(self) -> None:
        """Freeze it by SIGSTOP, and return when it stands still."""
        self.send(signal.SIGSTOP)
        process = psutil.Process(self.pid)
        await wait_until(
            lambda: process.status() == psutil.STATUS_STOPPED, f"{self.name} stands still"
        )

    async def listening(self) -> None:
        """Return when it listens; fail at once when it ended instead."""

        def said() -> re.Match[str] | None:
            found = LISTENING.search(self.text())
            if found is None and self.code() is not None:
                raise AssertionError(f"{self.name} ended with {self.code()}:\n{self.text()}")
            return found

        found = await wait_until(said, f"{self.name} listens", START_S)
        assert found is not None  # wait_until returns what is true only
        self.url = found.group(1)

    def ready(self) -> str:
        """Return the balancer's address when `cabrank up` says that its fleet is ready."""
        wait_until_sync(
            lambda: READY.search(self.text()) is not None, f"{self.name} is ready", START_S
        )
        found = READY.search(self.text())
        assert found is not None
        return found.group(1)

    async def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end and return its exit code."""
        await wait_until(lambda: self.code() is not None, f"{self.name} ends", timeout_s)
        return self._popen.returncode

    def close(self) -> None:
        """End it and what it has started, each by its pid."""
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.pid).children(recursive=True)
        if self.code() is None:
            self.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=1)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> dict[str, object]:
        """Return its JSON object."""
        return cast("dict[str, object]", json.loads(self.text))


@dataclass(frozen=True)
class Entry:
    """One line of the ledger that the functions keep."""

    event: str  # start, end, cancelled
    name: str
    pid: int
    token: str


class Bench:
    """A fleet in one folder: its keys, its workers.json, its store, and the ledger of its functions.

    Args:
        folder: an empty one.

    Attributes:
        store: STORE_URL of balancers that are started from now on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers_file = folder / "workers.json"
        self.store = "sqlite:///tasks.db"
        self.keys = {"LB_AUTH_KEY": LB_KEY, "AUTH_KEY": AUTH_KEY}
        self._running: list[Running] = []
        self._balancer: Running | None = None

    # Processes

    def start(
        self, name: str, argv: Sequence[str], settings: Mapping[str, str] = DEFAULTS
    ) -> Running:
        """Start a process that is ended with the bench; settings are environment variables."""
        process = Running(name, argv, self.folder, environment({**self.keys, **settings}))
        self._running.append(process)
        return process

    def start_worker(
        self, name: str = "worker", *, slots: int = 4, port: int = 0,
        settings: Mapping[str, str] = DEFAULTS,
    ) -> Running:  # fmt: skip
        """Start a worker; `listening` says when it is there."""
        options = ("--port", str(port), "--slots", str(slots), "--functions", str(FUNCTIONS))
        return self.start(name, cabrank("worker", *options), settings)

    def start_balancer(self, *, port: int = 0, settings: Mapping[str, str] = DEFAULTS) -> Running:
        """Start a balancer on the bench's workers.json and store; the one that is called from now on."""
        if not self.workers_file.exists():
            self.list()
        options = ("--port", str(port), "--store", self.store)
        self.balancer = self.start("balancer", cabrank("balancer", *options), {**QUICK, **settings})
        return self.balancer

    async def fleet(
        self, workers: int = 1, *, slots: int = 4, settings: Mapping[str, str] = DEFAULTS
    ) -> tuple[Running, list[Running]]:
        """Start a balancer and workers side by side; return them when tasks can be taken."""
        hands = [
            self.start_worker(f"worker-{n}", slots=slots, settings=settings) for n in range(workers)
        ]
        balancer = self.start_balancer(settings=settings)
        for process in (*hands, balancer):
            await process.listening()
        self.list(*hands)
        await self.ready(*hands)
        return balancer, hands

    def list(self, *workers: Running | str) -> None:
        """Write workers.json, whole or not at all."""
        urls = [each if isinstance(each, str) else each.url for each in workers]
        self.write_list(json.dumps(urls))

    def write_list(self, text: str) -> None:
        """Write any text as workers.json."""
        draft = self.folder / "workers.draft"
        draft.write_text(text)
        draft.replace(self.workers_file)

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._running:
            process.close()

    def logs(self) -> str:
        """Return what every process has said, for a failure's report."""
        return "\n".join(f"--- {each.name}\n{each.text()}" for each in self._running)

    # The fleet from outside

    @property
    def balancer(self) -> Running:
        """Return the balancer that is called: the last one that was started."""
        assert self._balancer is not None
        return self._balancer

    @balancer.setter
    def balancer(self, balancer: Running) -> None:
        self._balancer = balancer

    @property
    def url(self) -> str:
        """Return its address."""
        return self.balancer.url

    def client(self) -> Client:
        """Return a client of the balancer that never repeats a request."""
        return Client(self.url, key=LB_KEY, retries=0)

    async def request(
        self, method: str, path: str, body: object = None, *, url: str = "", key: str = LB_KEY,
        **headers: str,
    ) -> Reply:  # fmt: skip
        """Send a request to the balancer, or to another process; return its answer."""
        data = None if body is None else json.dumps(body)
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, (url or self.url) + path, data=data,
                headers={"Authorization": key, **headers},
            ) as answer,
        ):  # fmt: skip
            return Reply(answer.status, answer.headers.copy(), await answer.text())

    def task(self, function: str, name: str, **members: object) -> dict[str, object]:
        """Return the body of a task for one of the functions that keep the ledger."""
        given = {"folder": str(self.folder), "name": name}
        body = {"group": "default", "function": function, "contract": 1, "input": given}
        return {**body, **members}

    async def call(self, function: str, name: str, **members: object) -> Reply:
        """Submit a task and return the answer."""
        return await self.request("POST", "/task", self.task(function, name, **members))

    async def submit(self, function: str, name: str, hook: str, **members: object) -> str:
        """Hand a durable task over and return its id."""
        webhook = {"mode": "webhook", "webhook": {"url": hook}}
        reply = await self.call(function, name, **webhook, **members)
        assert reply.status == 202, reply
        return str(reply.json["task_id"])

    async def workers(self) -> dict[str, dict[str, object]]:
        """Return what the balancer shows of its workers, by id."""
        shown = cast(
            "list[dict[str, object]]", (await self.request("GET", "/workers")).json["workers"]
        )
        return {str(worker["id"]): worker for worker in shown}

    async def status_of(self, worker: Running) -> str:
        """Return a worker's status as the balancer shows it; "absent" when it is not listed."""
        return str((await self.workers()).get(worker.id, {}).get("status", "absent"))

    async def ready(self, *workers: Running) -> None:
        """Wait until the balancer may give tasks to every one of them."""
        for worker in workers:
            await self.shows(worker, "ready")

    async def shows(self, worker: Running, status: str) -> None:
        """Wait until the balancer shows a status of a worker."""

        async def shown() -> bool:
            return await self.status_of(worker) == status

        await wait_until(shown, f"{worker.name} is {status}", PATIENCE_S)

    async def used_slots(self, worker: Running) -> int:
        """Return the slots that are used on a worker, by its own account."""
        shown = (await self.request("GET", "/health", url=worker.url)).json
        return cast("dict[str, int]", shown["slots"])["used"]

    async def free_again(self, worker: Running) -> None:
        """Wait until none of a worker's slots is used."""

        async def free() -> bool:
            return await self.used_slots(worker) == 0

        await wait_until(free, f"every slot of {worker.name} is free", PATIENCE_S)

    # The ledger of the functions

    def ledger(self, event: str = "start", name: str | None = None) -> list[Entry]:
        """Return the lines of an event, in the order in which they happened."""
        file = self.folder / "ledger"
        lines = file.read_text().splitlines() if file.exists() else []
        entries = [_entry(line) for line in lines]
        return [each for each in entries if each.event == event and name in (None, each.name)]

    async def told(self, name: str, event: str = "start", times: int = 1) -> list[Entry]:
        """Wait until the function of a name has told of an event so often."""
        await wait_until(
            lambda: len(self.ledger(event, name)) >= times,
            f"{name} tells of '{event}' {times} time(s)", PATIENCE_S,
        )  # fmt: skip
        return self.ledger(event, name)

    def open_gate(self, *names: str) -> None:
        """Let held functions end."""
        for name in names:
            (self.folder / f"gate-{name}").touch()

    async def finished(self, client: Client, *task_ids: str) -> None:
        """Wait until tasks have ended."""
        for task_id in task_ids:
            await client.wait(task_id, PATIENCE_S)


def _entry(line: str) -> Entry:
    event, name, pid, token = line.split(" ")
    return Entry(event, name, int(pid), token)
