"""The HTTP edge of the balancer: parses, asks the engine, answers; no logic."""

from __future__ import annotations
