"""`GET /workers` and orders to workers (contract §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from shared.edge.answers import render_failure, render_value
from shared.edge.http_shell import edge_headers, respond
from shared.errors import failure
from shared.ids import WorkerId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from balancer.fleet.fleet import Fleet

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WorkersApi:
    """Shows and orders workers.

    Args:
        fleet: the workers.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self, closed: Callable[[Handler], Handler]) -> Sequence[web.RouteDef]:
        """Return the routes; `closed` guards each with the key."""
        return (
            web.get("/workers", closed(self.list)),
            web.get("/workers/{id}", closed(self.get)),
            web.post("/workers/{id}/off", closed(self.off)),
            web.post("/workers/{id}/on", closed(self.on)),
        )

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Show every worker, in the order of workers.json."""
        shown = {"workers": [worker.view() for worker in self._fleet.workers()]}
        return respond(request, render_value(shown, edge_headers(request)))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show one worker."""
        headers = edge_headers(request)
        name = WorkerId(request.match_info["id"])
        worker = self._fleet.get(name)
        if worker is None:
            missing = failure("worker_not_found", f"Worker '{name}' is not listed")
            return respond(request, render_failure(missing, headers))
        return respond(request, render_value(worker.view(), headers))

    async def off(self, request: web.Request) -> web.StreamResponse:
        """Order a worker into maintenance: it finishes what it runs and gets nothing new."""
        return await self._order(request, on=True)

    async def on(self, request: web.Request) -> web.StreamResponse:
        """End a worker's maintenance."""
        return await self._order(request, on=False)

    async def _order(self, request: web.Request, *, on: bool) -> web.StreamResponse:
        headers = edge_headers(request)
        refused = await self._fleet.maintain(WorkerId(request.match_info["id"]), on)
        if refused is not None:
            return respond(request, render_failure(refused, headers))
        done = (
            {"status": "maintenance", "message": "Maintenance mode enabled"}
            if on
            else {"status": "ready", "message": "Maintenance mode disabled"}
        )
        return respond(request, render_value(done, headers))
