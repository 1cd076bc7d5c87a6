"""The embedded store on SQLite, the default.

    event loop ──put──▶ Writer thread: BEGIN · many writes · COMMIT (one fsync) ──done, per batch──▶ loop
               ──run──▶ Reader thread: one snapshot a query

One process owns the file (`file_lock`); `schema` has the tables, `rows` turns domain values into rows
and back, `tasks`, `outbox` and `orders` implement the ports.
"""

from __future__ import annotations

from balancer.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
