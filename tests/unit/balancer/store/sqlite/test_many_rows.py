"""Statements over many rows: any number of them, in their order, by few prepared statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.store.sqlite import outbox, task_writes
from balancer.store.sqlite.connection import connect
from balancer.store.sqlite.many_rows import MOST_ROWS, ManyRows
from balancer.store.sqlite.schema import migrate
from balancer.store.sqlite.writer import Values, Write, group

PUT = ManyRows(
    "INSERT INTO seen SELECT v.column1, v.column2 FROM {rows} AS v WHERE v.column1 IS NOT NULL", 2
)
STATEMENTS = {
    name: value
    for module in (task_writes, outbox)
    for name, value in vars(module).items()
    if isinstance(value, ManyRows)
}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, MOST_ROWS - 1, MOST_ROWS, MOST_ROWS + 1, 1000])
def test_every_row_arrives_once_and_in_order(count: int) -> None:
    """The rows that fill a table up leave no trace."""
    connection = connect(":memory:")
    connection.execute("CREATE TABLE seen (number, body)")
    rows = [(number, None if number % 3 else b"x") for number in range(count)]
    PUT.run(connection, rows)
    assert connection.execute("SELECT * FROM seen ORDER BY rowid").fetchall() == rows
    connection.close()


def test_few_statements_serve_all_numbers_of_rows() -> None:
    """Each is prepared once, and their cache is finite."""
    connection = connect(":memory:")
    connection.execute("CREATE TABLE seen (number, body)")
    for count in range(1, 200):
        PUT.run(connection, [(1, 2)] * count)
    assert len(PUT.sizes) <= 7
    connection.close()


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_over_many_rows_scans_a_table(name: str) -> None:
    """However much the store keeps, a write finds its row by an index."""
    connection = connect(":memory:")
    migrate(connection, "x")
    plan = _plan(connection, STATEMENTS[name])
    connection.close()
    scans = [step for step in plan if step.startswith("SCAN") and not step.endswith("ROWS")]
    assert scans == ["SCAN v"], plan


def _plan(connection: sqlite3.Connection, statement: ManyRows) -> list[str]:
    seen: list[str] = []

    class Explained:
        def execute(self, sql: str, values: Values) -> None:
            seen.extend(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, values))

    run: Callable[[object, list[Values]], None] = statement.run  # pyright: ignore[reportAssignmentType] only `execute` is used
    run(Explained(), [(None,) * statement.width] * MOST_ROWS)
    return seen


def _one(connection: sqlite3.Connection, writes: object) -> None:
    del connection, writes


def _two(connection: sqlite3.Connection, writes: object) -> None:
    del connection, writes


def _three(connection: sqlite3.Connection, writes: object) -> None:
    del connection, writes


WRITES = st.lists(
    st.tuples(
        st.sampled_from([_one, _two, _three]),
        st.lists(st.sampled_from("abcd"), max_size=2, unique=True).map(tuple),
    ),
    max_size=30,
)


@given(WRITES)
def test_writes_that_share_a_key_keep_their_order(drawn: list[tuple[object, Values]]) -> None:
    """Bringing writes of a kind together changes nothing that anybody can see."""
    batch = [
        Write(handler, (number,), keys, 0, None)  # pyright: ignore[reportArgumentType] drawn from the three above
        for number, (handler, keys) in enumerate(drawn)
    ]
    order = [number for _, values in group(batch) for (number,) in values]
    assert sorted(order, key=str) == sorted(range(len(batch)), key=str)
    for key in "abcd":
        concerned = [n for n in order if isinstance(n, int) and key in batch[n].keys]
        assert concerned == sorted(concerned)
    for bare in (n for n, write in enumerate(batch) if not write.keys):
        place = order.index(bare)
        assert set(order[:place]) == set(range(bare))


def test_writes_of_different_keys_are_brought_together() -> None:
    """Ends and acceptances that alternate need one statement each."""
    batch = [Write((_one, _two)[n % 2], (n,), (str(n),), 0, None) for n in range(10)]
    grouped = [[values[0] for values in each] for _, each in group(batch)]
    assert grouped == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
