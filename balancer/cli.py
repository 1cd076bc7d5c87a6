"""One balancer process, from options to exit code; the `cabrank balancer` command calls `run`."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from balancer.app import serve
from balancer.config import load_settings
from shared.errors import ConfigError


def run(overrides: dict[str, object]) -> int:
    """Serve until a signal; return the exit code: 0 after an orderly stop, 2 for bad settings.

    Args:
        overrides: command line options by setting; None means not given.
    """
    try:
        settings = load_settings(overrides)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(settings))
    except ConfigError as exc:
        print(f"cabrank balancer: {exc}", file=sys.stderr)
        return 2
