"""`GET /health`: public status, and with a key the whole picture (contract §5). Always 200."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.answers import render_value
from shared.edge.codec import authorize_balancer
from shared.edge.http_shell import edge_headers, respond

if TYPE_CHECKING:
    from aiohttp import web

    from balancer.api.views import TaskViews
    from balancer.fleet.fleet import Fleet
    from balancer.store.ports import Store


class HealthApi:
    """Answers for the state of the balancer.

    Args:
        views, fleet, store: what is looked at.
        lb_key: LB_AUTH_KEY.
        version: of the software.
    """

    def __init__(
        self, views: TaskViews, fleet: Fleet, store: Store, *, lb_key: str, version: str
    ) -> None:
        self._views = views
        self._fleet = fleet
        self._store = store
        self._lb_key = lb_key
        self._version = version

    @property
    def status(self) -> str:
        """Return ready when some worker can take a task, else unreachable."""
        return "ready" if any(w.status == "ready" for w in self._fleet.workers()) else "unreachable"

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        headers = edge_headers(request)
        shown: dict[str, object] = {"status": self.status}
        if authorize_balancer(headers, self._lb_key) is None:
            shown |= self._whole()
        return respond(request, render_value(shown, headers))

    def _whole(self) -> dict[str, object]:
        workers = self._fleet.workers()
        store = "ready" if self._store.healthy else "unavailable"
        return {
            "version": self._version,
            "workers": [worker.view() for worker in workers],
            "invalidWorkers": [worker.view() for worker in workers if worker.differences],
            "services": {"store": store, "roster": self._fleet.roster.problem or "ready"},
            "roster": {
                "problem": self._fleet.roster.problem,
                "discovered": self._fleet.round_ended,
            },
            "lanes": self._views.lanes(),
        }
