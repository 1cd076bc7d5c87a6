"""The embedded store on SQLite, the default."""

from __future__ import annotations
