"""What `done(None)` is worth: processes killed in the middle, disks that are full, two owners."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from balancer.store.ports import Store
from balancer.store.sqlite import SqliteStore
from shared.errors import ConfigError, Unavailable
from shared.ids import TaskId
from shared.system import SystemClock
from shared.task_state import TaskStatus
from tests.fakes.store_openers import SmallDisk
from tests.fakes.stored_tasks import accept, after, finish, stored_task
from tests.fakes.waiting import wait_until

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("accepting_process.py")


@asynccontextmanager
async def accepting(path: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a process that accepts into a database, and kill it in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        str(path),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _lines(process: asyncio.subprocess.Process, enough: int | None = None) -> list[str]:
    """Read what a process reported: so many lines, or all that is left."""
    assert process.stdout is not None
    lines: list[str] = []
    while (enough is None or len(lines) < enough) and (line := await process.stdout.readline()):
        if line.endswith(b"\n"):  # the last one may be torn by the kill
            lines.append(line.decode().strip())
    return lines


async def fill(store: Store, size: int) -> int:
    """Accept tasks until the disk is full; return how many fitted."""
    for number in range(1, 1000):
        try:
            await accept(store, stored_task(number, content=b"x" * size))
        except Unavailable:
            return number - 1
    raise AssertionError("the disk never was full")


@pytest.mark.parametrize("enough", [1, 500, 3000])
async def test_all_that_was_reported_durable_survives_kill_9(tmp_path: Path, enough: int) -> None:
    """Every accepted task and every end with its webhook is there after reopening."""
    path = tmp_path / "x.db"
    async with accepting(path) as process:
        reported = await _lines(process, enough)
        process.kill()
        reported += await _lines(process)
    assert len(reported) >= enough
    store = await SqliteStore.open(str(path), clock=SystemClock())
    for line in reported:
        event, _, task_id = line.partition(" ")
        record = await store.tasks.get(TaskId(task_id))
        assert record is not None, line
        if event == "finished":
            assert record.status is TaskStatus.SUCCEEDED, line
            assert record.webhook is not None, line
            assert record.webhook.status == "pending"
    due = {row.task_id for row in await store.outbox.due(after(1), 100_000)}
    assert due >= {line.split()[1] for line in reported if line.startswith("finished")}
    await accept(store, stored_task(10**9))
    await store.close()


async def test_another_processs_store_is_refused_and_free_once_it_is_dead(tmp_path: Path) -> None:
    """The refusal names the process; kill -9 leaves no lock behind."""
    path = tmp_path / "x.db"
    async with accepting(path) as process:
        await _lines(process, 1)
        with pytest.raises(ConfigError, match=f"in use by process {process.pid}"):
            await SqliteStore.open(str(path), clock=SystemClock())
    store = await SqliteStore.open(str(path), clock=SystemClock())
    await store.close()


async def test_a_full_disk_is_an_outage_that_ends_when_there_is_room(tmp_path: Path) -> None:
    """Tasks that do not fit are refused, what fitted stays, and room alone is enough to go on."""
    disk = SmallDisk(pages=100)
    store = await SqliteStore.open(
        str(tmp_path / "x.db"), clock=SystemClock(), connect=disk.connect
    )
    fitted = await fill(store, 10_000)
    assert 5 < fitted < 100
    await wait_until(lambda: not store.healthy, "the store says that it is out")
    with pytest.raises(Unavailable):
        await finish(store, "t1")
    assert await store.tasks.count() == fitted

    disk.pages = 10_000
    await wait_until(lambda: store.healthy, "the store has recovered")
    await accept(store, stored_task(2000, content=b"x" * 10_000))
    assert await store.tasks.count() == fitted + 1
    await store.close()


async def test_a_restart_after_an_outage_has_all_that_was_accepted(tmp_path: Path) -> None:
    """A store that is closed during its outage loses nothing that was durable."""
    disk = SmallDisk(pages=60)
    path = str(tmp_path / "x.db")
    store = await SqliteStore.open(path, clock=SystemClock(), connect=disk.connect)
    fitted = await fill(store, 5_000)
    await store.close()
    reopened = await SqliteStore.open(path, clock=SystemClock())
    tasks = await reopened.tasks.recover(after_order=0, limit=1000)
    assert [task.order for task in tasks] == list(range(1, fitted + 1))
    await reopened.close()
