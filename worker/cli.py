"""Runs one worker process: settings in, exit code out. The command line itself is `cabrank worker`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import TYPE_CHECKING

from shared.errors import ConfigError
from worker.app import RESTART, serve
from worker.config import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_CONFIG = 2  # what shells use for a wrong command line
JOIN_S = 0.2  # threads that are about to end have ended by then


def run(overrides: dict[str, object]) -> int:
    """Run a worker until it is told to stop.

    A worker all of whose slots are held by code that cannot be ended replaces itself by a fresh
    process of the same command; this function does not return then.

    Args:
        overrides: command line options by field name of `WorkerSettings`; None means not given.

    Returns:
        The exit code: 0 after a clean stop, 2 when a setting or a file of functions stops the start.
    """
    try:
        settings = load_settings(overrides)
        runner = asyncio.Runner(loop_factory=_loop_factory())
        code = runner.run(serve(settings))
    except ConfigError as exc:
        print(exc.message, file=sys.stderr)
        return EXIT_CONFIG
    if code == RESTART:
        _flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if _threads_go_on():
        # Somebody's code blocks a thread that the interpreter would join for ever.
        _flush()
        os._exit(code)
    runner.close()
    return code


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed; asyncio's own elsewhere (Windows has none)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _threads_go_on() -> bool:
    """Tell whether threads are left that keep the process alive."""
    left = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    for thread in left:
        thread.join(JOIN_S)
    return any(thread.is_alive() for thread in left)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
