"""Attempts that begin: a short one is written once, with its end, and whoever looks sees it all the same."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from balancer.store.ports import REFUSED, TaskFilter
from balancer.store.sqlite import SqliteStore, tasks
from balancer.store.sqlite.connection import connect
from shared.ids import TaskId
from shared.system import SystemClock
from shared.task_state import TaskStatus
from tests.fakes.stored_tasks import accept, attempt, finish, stored_task
from tests.fakes.waiting import wait_until

ID = TaskId("t1")
DONE = attempt(1, outcome="succeeded")


class Site:
    """A store with one task, and the statements that were carried out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statements: list[str] = []
        self.store: SqliteStore

    def connect(self, path: str) -> sqlite3.Connection:
        """Open a connection that reports its statements."""
        connection = connect(path)
        connection.set_trace_callback(self.statements.append)
        return connection

    async def open(self) -> None:
        """Open the store."""
        self.store = await SqliteStore.open(
            str(self.path), clock=SystemClock(), connect=self.connect
        )

    @property
    def starts(self) -> int:
        """Return how many starts were written."""
        return sum(
            each.startswith("UPDATE tasks SET status = 'running'") for each in self.statements
        )


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """Return a site whose starts are written when somebody looks, not by time."""
    monkeypatch.setattr(tasks, "NOTE_STARTS_S", 3600.0)
    made = Site(tmp_path / "x.db")
    await made.open()
    await accept(made.store, stored_task(1))
    yield made
    await made.store.close()


async def test_a_short_attempt_is_written_once_with_its_end(site: Site) -> None:
    """And is shown whole."""
    site.store.tasks.started(ID, attempt(1))
    await finish(site.store, ID, ended=DONE)
    record = await site.store.tasks.get(ID)
    assert record is not None
    assert (record.started_at, record.attempts) == (DONE.started_at, (DONE,))
    assert site.starts == 0


async def test_whoever_looks_sees_that_it_runs(site: Site) -> None:
    """At once, and in the listing too."""
    site.store.tasks.started(ID, attempt(1))
    record = await site.store.tasks.get(ID)
    assert record is not None
    assert (record.status, record.worker) == (TaskStatus.RUNNING, "w1:3000")
    assert site.starts == 1
    await accept(site.store, stored_task(2))
    site.store.tasks.started(TaskId("t2"), attempt(1))
    running, _ = await site.store.tasks.list(TaskFilter(status="running"), limit=9, cursor=None)
    assert [each.task_id for each in running] == ["t2", "t1"]


async def test_a_disk_that_hangs_does_not_hide_the_tasks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a moment whoever looks is shown what is there."""
    monkeypatch.setattr(tasks, "NOTED_S", 0.01)
    disk = connect(str(site.path))
    disk.execute("BEGIN IMMEDIATE")  # the writer waits for us
    async with asyncio.timeout(3):
        site.store.tasks.started(ID, attempt(1))
        record = await site.store.tasks.get(ID)
        assert record is not None
        assert record.status is TaskStatus.QUEUED
        site.store.tasks.started(ID, attempt(2))
        page, _ = await site.store.tasks.list(TaskFilter(), limit=9, cursor=None)
        assert [each.task_id for each in page] == [ID]
    disk.close()
    await accept(site.store, stored_task(2))
    record = await site.store.tasks.get(ID)
    assert record is not None
    assert record.status is TaskStatus.RUNNING


async def test_an_attempt_that_goes_on_is_written_soon(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody looking."""
    monkeypatch.setattr(tasks, "NOTE_STARTS_S", 0.01)
    site.store.tasks.started(ID, attempt(1))
    await wait_until(lambda: site.starts == 1, "it is written")


@pytest.mark.parametrize(("outcome", "kept"), [("lost", ["lost"]), (REFUSED, [])])
async def test_an_attempt_that_is_over_at_once_is_kept_if_it_ran(
    site: Site, outcome: str, kept: list[str]
) -> None:
    """A lost one was an execution, a refused one was none."""
    site.store.tasks.started(ID, attempt(1))
    ended = replace(attempt(1), outcome=outcome)
    site.store.tasks.requeued(ID, ended, deaths=1, spent=0, due_at=None)
    await accept(site.store, stored_task(2))  # so that all before is committed
    record = await site.store.tasks.get(ID)
    assert record is not None
    assert record.status is TaskStatus.QUEUED
    assert [each.outcome for each in record.attempts] == kept
    [stored, _] = await site.store.tasks.recover(after_order=0, limit=9)
    assert stored.number == len(kept)


async def test_an_attempt_is_not_forgotten_over_the_next_one(site: Site) -> None:
    """An end that names another attempt, or none, leaves the one before in the history."""
    site.store.tasks.started(ID, attempt(1))
    site.store.tasks.started(ID, attempt(2))
    await finish(site.store, ID)
    record = await site.store.tasks.get(ID)
    assert record is not None
    assert [each.n for each in record.attempts] == [1, 2]


async def test_closing_writes_down_what_runs(site: Site) -> None:
    """The next process shows it as it was."""
    site.store.tasks.started(ID, attempt(1))
    await site.store.close()
    await site.open()
    record = await site.store.tasks.get(ID)
    assert record is not None
    assert record.status is TaskStatus.RUNNING
