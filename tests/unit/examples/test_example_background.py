"""The example service and the example tags."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import cast

from tests.fakes.waiting import wait_until
from worker.authoring import Service, discover
from worker.authoring.discovery import load_file

EXAMPLES = Path(__file__).parents[3] / "examples"


def clock(interval_s: float) -> Service:
    """Return a clock that ticks this fast."""
    module = load_file(EXAMPLES / "services", EXAMPLES / "services" / "clock.py")
    return cast("Service", vars(module)["Clock"](interval_s))


async def test_the_clock_is_up_between_start_and_stop() -> None:
    """It tells its ticks while it runs, and False before and after."""
    service = clock(interval_s=0.001)
    assert await service.status() is False
    await service.start()

    async def ticks() -> bool:
        state = cast("dict[str, float]", await service.status())
        return state["ticks"] >= 2 and state["late_ms"] >= 0

    await wait_until(ticks, "two ticks")
    await service.stop()
    assert await service.status() is False
    await service.stop()


async def test_the_tags_tell_what_runs_here() -> None:
    """Plain texts, with the version of this Python."""
    (source,) = discover(EXAMPLES / "functions").tags
    told = await source()
    assert told["python"] == platform.python_version()
    assert all(isinstance(value, str) and value for value in told.values())
    assert source.interval_s == 300.0
