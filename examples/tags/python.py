"""Tags: what this worker runs on, shown live and usable for routing."""

from __future__ import annotations

import platform

interval_s = 300  # none of it changes while the worker runs


async def tags() -> dict[str, str]:
    """Tell the Python version, its implementation and the machine."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
