"""`POST /off` and `POST /on`: take no new task, and take tasks again (contract §3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shared.edge.codec import authorize_maintenance, render_value
from shared.edge.http_shell import edge_headers, refuse, respond
from shared.errors import Failure, failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from shared.edge.codec import Keys
    from worker.engine import WorkerEngine

MAX_WAIT_S = 3600.0  # a connection that waits longer has been cut by something on the way


class MaintenanceRoutes:
    """Switches maintenance.

    Args:
        engine: takes tasks or does not.
        drained: waits until nothing is under way any more, at most so many seconds.
        keys: of the worker.
    """

    def __init__(
        self, engine: WorkerEngine, drained: Callable[[float], Awaitable[bool]], keys: Keys
    ) -> None:
        self._engine = engine
        self._drained = drained
        self._keys = keys

    async def off(self, request: web.Request) -> web.StreamResponse:
        """Take no new task; with `?wait=` answer when the others are over, or when that is late."""
        headers = edge_headers(request)
        refused = authorize_maintenance(headers, *self._keys)
        if refused is not None:
            return refuse(request, refused)
        wait_s = _wait_of(request.query.get("wait"))
        if isinstance(wait_s, Failure):
            return refuse(request, wait_s)
        self._engine.set_maintenance(True)
        said: dict[str, object] = {
            "status": "maintenance",
            "message": "Maintenance mode enabled",
        }
        if wait_s is not None:
            said["drained"] = await self._drained(wait_s)
        return respond(request, render_value(said, headers))

    async def on(self, request: web.Request) -> web.StreamResponse:
        """Take tasks again."""
        headers = edge_headers(request)
        refused = authorize_maintenance(headers, *self._keys)
        if refused is not None:
            return refuse(request, refused)
        self._engine.set_maintenance(False)
        said = {"status": "ready", "message": "Maintenance mode disabled"}
        return respond(request, render_value(said, headers))


def _wait_of(text: str | None) -> float | Failure | None:
    if text is None:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = math.nan
    if 0 <= wait_s <= MAX_WAIT_S:
        return wait_s
    expected = f"must be a number of seconds from 0 to {MAX_WAIT_S:.0f}"
    return failure("invalid_field", f"Invalid wait: {expected}")
