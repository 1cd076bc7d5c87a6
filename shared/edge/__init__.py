"""The HTTP edge of both processes: one pure codec and the limits that every shell applies."""

from __future__ import annotations
