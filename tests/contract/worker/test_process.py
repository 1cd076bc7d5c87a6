"""A worker as a process of its own: how it starts, what it says, how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.contract.worker.running import AS_CLIENT, AUTH_KEY, LB_KEY
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

PROGRAM = "import sys; from worker.cli import run; sys.exit(run({'port': 0, **eval(sys.argv[1])}))"
ROOT = Path(__file__).parents[3]
KEYS = {"AUTH_KEY": AUTH_KEY, "LB_AUTH_KEY": LB_KEY}
FUNCTIONS = """
from __future__ import annotations

import asyncio
import os
import time

from worker import function


@function
async def sleeps(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@function(timeout_s=0.1)
def blocks() -> None:
    time.sleep(3600)


@function
async def pid() -> int:
    await asyncio.to_thread(time.sleep, 0)
    return os.getpid()
"""


class Process:
    """A worker process and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""
        self.said: list[str] = []

    async def listen(self) -> None:
        """Read the next line that says where it listens."""
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        self.said.append(line.strip())
        self.url = line.removeprefix("listening on ").split(" ")[0].strip()

    async def task(self, name: str, **input_: object) -> Mapping[str, object]:
        """Post a task and return the body of the answer."""
        body = {"function": name, "contract": 1, "input": input_}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/task", json=body, headers=AS_CLIENT) as answered,
        ):
            answer: Mapping[str, object] = await answered.json()
            return answer

    async def used(self) -> int:
        """Return the slots in use."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/health", headers=AS_CLIENT) as answered,
        ):
            return int((await answered.json())["slots"]["used"])


async def _start(
    folder: Path, options: Mapping[str, object] = {}, env: Mapping[str, str] = KEYS
) -> Process:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, repr(dict(options)),
        cwd=folder, env=environment, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    return Process(process)


@asynccontextmanager
async def _running(
    folder: Path, options: Mapping[str, object] = {}, env: Mapping[str, str] = KEYS
) -> AsyncGenerator[Process]:
    started = await _start(folder, options, env)
    try:
        await started.listen()
        yield started
    finally:
        if started.process.returncode is None:
            started.process.kill()
        await started.process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with functions."""
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "some.py").write_text(FUNCTIONS)
    return tmp_path


async def _refused(folder: Path, env: Mapping[str, str] = KEYS) -> str:
    """Start a worker that must not start; return what it says."""
    started = await _start(folder, env=env)
    out, err = await started.process.communicate()
    assert (started.process.returncode, out) == (2, b"")
    return err.decode()


async def test_it_says_where_it_listens_and_where_its_keys_are(folder: Path) -> None:
    """One line with the real port; keys that were generated are named by their folder."""
    async with _running(folder, env={}) as worker:
        assert worker.said[0].endswith(" (keys in .cabrank/)")
        assert int(worker.url.rpartition(":")[2]) > 0
        assert (folder / ".cabrank" / "auth_key").exists()
        async with aiohttp.ClientSession() as session:
            key = (folder / ".cabrank" / "lb_auth_key").read_text()
            async with session.get(f"{worker.url}/logs", headers={"x-lb-auth": key}) as answered:
                assert answered.status == 200


async def test_sigterm_lets_running_tasks_finish(folder: Path) -> None:
    """The caller gets its result, then the process ends with 0."""
    async with _running(folder) as worker:
        call = asyncio.create_task(worker.task("sleeps", seconds=0.5))
        await wait_until(worker.used, "the task runs")
        worker.process.send_signal(signal.SIGTERM)
        assert (await call)["result"] == "slept"
        assert await worker.process.wait() == 0


async def test_what_outlives_the_grace_is_ended(folder: Path) -> None:
    """The caller is told that the worker stops; the process ends with 0 all the same."""
    async with _running(folder, {"termination_grace": 100}) as worker:
        call = asyncio.create_task(worker.task("sleeps", seconds=60))
        await wait_until(worker.used, "the task runs")
        worker.process.send_signal(signal.SIGTERM)
        assert (await call)["code"] == "shutting_down"
        assert await worker.process.wait() == 0


async def test_a_second_signal_ends_it_now(folder: Path) -> None:
    """Without waiting for anything."""
    async with _running(folder) as worker:
        call = asyncio.create_task(worker.task("sleeps", seconds=60))
        await wait_until(worker.used, "the task runs")
        worker.process.send_signal(signal.SIGINT)
        assert await _logged(worker, "Stopping")
        worker.process.send_signal(signal.SIGINT)
        assert await worker.process.wait() == 130
        with pytest.raises(aiohttp.ClientError):
            await call


async def _logged(worker: Process, text: str) -> bool:
    """Read the log until a line has the text."""
    assert worker.process.stderr is not None
    async for line in worker.process.stderr:
        if text in line.decode():
            return True
    return False


async def test_threads_that_block_do_not_hold_up_the_end(folder: Path) -> None:
    """Code that cannot be ended dies with the process."""
    async with _running(folder, {"slots": 2, "termination_grace": 100}) as worker:
        assert (await worker.task("blocks"))["code"] == "timeout"
        await worker.task("pid")
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.process.wait() == 0


async def test_a_worker_without_a_slot_left_replaces_itself(folder: Path) -> None:
    """When all code is stuck, a fresh process takes the place of the old one, under its pid."""
    async with _running(folder, {"slots": 1}) as worker:
        before = (await worker.task("pid"))["result"]
        assert (await worker.task("blocks"))["code"] == "timeout"
        await worker.listen()
        assert len(worker.said) == 2
        assert (await worker.task("pid"))["result"] == before == worker.process.pid


async def test_a_bad_setting_stops_the_start(folder: Path) -> None:
    """The variable, the value and what is expected are on stderr; the exit code is 2."""
    said = await _refused(folder, {**KEYS, "SLOTS": "none"})
    assert "SLOTS='none': input should be a valid integer" in said
    assert "Traceback" not in said


async def test_other_addresses_need_keys(folder: Path) -> None:
    """HOST beyond loopback without keys is refused."""
    assert "AUTH_KEY and LB_AUTH_KEY: required" in await _refused(folder, {"HOST": "0.0.0.0"})


async def test_a_broken_file_stops_the_start(folder: Path) -> None:
    """With its name, its line and its error, unless it is told to keep going."""
    (folder / "functions" / "broken.py").write_text("import nothing_of_that_name\n")
    said = await _refused(folder)
    assert "functions/broken.py:1: ModuleNotFoundError" in said
    async with _running(folder, {"keep_going": True}) as worker:
        assert (await worker.task("sleeps", seconds=0))["result"] == "slept"


async def test_a_missing_folder_stops_the_start(tmp_path: Path) -> None:
    """There is nothing to host."""
    assert "functions folder not found" in await _refused(tmp_path)


async def test_a_taken_port_stops_the_start(folder: Path) -> None:
    """And says so in a line."""
    async with _running(folder) as worker:
        port = worker.url.rpartition(":")[2]
        second = await _start(folder, {"port": int(port)})
        _, err = await second.process.communicate()
    assert second.process.returncode == 2
    assert f"PORT={port}: cannot listen on 127.0.0.1" in err.decode()
