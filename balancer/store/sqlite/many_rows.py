"""Statements that take many rows at once.

Between two statements, and between two rows of `executemany`, the writer's thread has to win the
interpreter back from a busy event loop, which costs more than the rows do. So a statement gets its
rows as one table of `VALUES`. SQLite prepares a statement once for each number of rows; that the
numbers stay few, a table is filled up to the next power of two with rows of NULL, which the statement
must leave out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

MOST_ROWS = 64

Row = tuple[object, ...]


class ManyRows:
    """A statement over a table of rows.

    Args:
        sql: with `{rows}` where the table is read; its columns are `column1`, `column2` …, and rows
            whose first column is NULL must have no effect.
        width: columns of the table.

    Attributes:
        width: the same.
        sizes: rows of the tables that were made so far.
    """

    def __init__(self, sql: str, width: int) -> None:
        self.width = width
        self.sizes: dict[int, str] = {}
        self._sql = sql
        self._filler = (None,) * width

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Carry the statement out for rows, in their order."""
        for start in range(0, len(rows), MOST_ROWS):
            some = rows[start : start + MOST_ROWS]
            size = 1 << (len(some) - 1).bit_length()
            filler = self._filler * (size - len(some))
            values = (*chain.from_iterable(some), *filler)
            connection.execute(self.sizes.get(size) or self._made(size), values)

    def _made(self, size: int) -> str:
        row = f"({', '.join('?' * self.width)})"
        sql = self._sql.replace("{rows}", f"(VALUES {', '.join([row] * size)})")
        self.sizes[size] = sql
        return sql
