"""Runs one worker process: settings in, exit code out. The command line itself is `cabrank worker`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from shared.errors import ConfigError
from worker.app import serve
from worker.config import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_CONFIG = 2  # what shells use for a wrong command line
EXIT_LISTEN = 1


def run(overrides: dict[str, object]) -> int:
    """Run a worker until it is told to stop.

    Args:
        overrides: command line options by field name of `WorkerSettings`; None means not given.

    Returns:
        The exit code: 0 after a clean stop, 2 when a setting or a function's file stops the start,
        1 when the address cannot be listened on.
    """
    try:
        settings = load_settings(overrides)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serve(settings))
    except ConfigError as exc:
        print(exc.message, file=sys.stderr)
        return EXIT_CONFIG
    except OSError as exc:
        print(f"cannot start: {exc}", file=sys.stderr)
        return EXIT_LISTEN


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed; asyncio's own elsewhere (Windows has none)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
