"""`GET /health`: always 200; whoever has a key sees everything (contract §1, §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.codec import knows_a_key, render_value
from shared.edge.http_shell import edge_headers, respond

if TYPE_CHECKING:
    from aiohttp import web

    from shared.edge.codec import Keys
    from worker.api.status import WorkerStatus


class HealthRoute:
    """Tells the worker's health.

    Args:
        status: what there is to tell.
        keys: of the worker.
    """

    def __init__(self, status: WorkerStatus, keys: Keys) -> None:
        self._status = status
        self._keys = keys

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        headers = edge_headers(request)
        if knows_a_key(headers, *self._keys):
            return respond(request, render_value(self._status.health(), headers))
        return respond(request, render_value({"status": self._status.status()}, headers))
