"""No query of the hot paths grows with what the store keeps: SQLite's own plans say so."""

from __future__ import annotations

import sqlite3
from itertools import product
from pathlib import Path

import pytest

from balancer.store.ports import TaskFilter
from balancer.store.sqlite import tasks
from balancer.store.sqlite.connection import connect
from balancer.store.sqlite.schema import migrate
from balancer.store.sqlite.store import SqliteStore
from shared.system import SystemClock
from tests.fakes.stored_tasks import T0, after

FILTERS = [
    TaskFilter(status=status, function=function, group=group)
    for status, function, group in product((None, "failed", "succeeded"), (None, "f"), (None, "g"))
]


class Plans:
    """Explains every query that connections run."""

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = {}

    def connect(self, path: str) -> sqlite3.Connection:
        """Open a connection that notes how each of its queries is carried out."""
        noted = self.seen

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
                if sql.startswith("SELECT") and ("FROM tasks" in sql or "FROM outbox" in sql):
                    plan = super().execute("EXPLAIN QUERY PLAN " + sql, parameters)  # pyright: ignore[reportArgumentType] passed on
                    noted[sql] = [str(row[3]) for row in plan]
                return super().execute(sql, parameters)  # pyright: ignore[reportArgumentType] passed on

        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Connection
        )


@pytest.fixture
def plans() -> Plans:
    """Return what notes plans."""
    return Plans()


async def test_no_query_scans_or_sorts_a_table(tmp_path: Path, plans: Plans) -> None:
    """Listings under every filter, look-ups, recovery, the outbox and pruning all go by an index."""
    store = await SqliteStore.open(
        str(tmp_path / "x.db"), clock=SystemClock(), connect=plans.connect
    )
    for chosen in FILTERS:
        await store.tasks.list(chosen, limit=5, cursor=None)
    await store.tasks.recover(after_order=3, limit=5)
    await store.outbox.due(after(1), 5, skip=["a"], busy_hosts=["b"])
    await store.outbox.next_due(T0)
    await store.tasks.prune(T0, 5)
    await store.close()
    assert len(plans.seen) == 15  # 11 listings: two statuses alone are one query; and four others
    for sql, plan in plans.seen.items():
        assert not any("TEMP B-TREE" in step for step in plan), (sql, plan)
        scans = [step for step in plan if step.startswith("SCAN") and "json_each" not in step]
        # Without a filter the listing walks down the table itself, from the newest on.
        walks = sql.endswith("= t.seq) ORDER BY t.seq DESC LIMIT ?")
        assert scans == (["SCAN t"] if walks else []), (sql, plan)


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (TaskFilter(status="failed", function="f", group="g"), "tasks_status"),
        (TaskFilter(status="succeeded", function="f", group="g"), "tasks_function"),
        (TaskFilter(function="f", group="g"), "tasks_function"),
        (TaskFilter(status="succeeded", group="g"), "tasks_group"),
        (TaskFilter(group="g"), "tasks_group"),
    ],
)
def test_the_narrowest_filter_has_the_index(chosen: TaskFilter, index: str) -> None:
    """Most tasks succeed, so another status narrows best."""
    connection = connect(":memory:")
    migrate(connection, "x")
    sql, values = tasks._listing(chosen, 7)  # pyright: ignore[reportPrivateUsage] the query itself is the subject
    plan = connection.execute("EXPLAIN QUERY PLAN " + sql, (*values, 5)).fetchall()
    connection.close()
    assert f"USING INDEX {index} " in plan[0][3]
