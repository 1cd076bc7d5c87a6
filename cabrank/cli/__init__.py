"""The command line: `cabrank up`, `balancer`, `worker`, `demo`, `submit`, `workers`."""

from __future__ import annotations

from cabrank.cli.main import main

__all__ = ["main"]
