"""The balancer's HTTP edge: every route, and what stands before each. No logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from balancer.api.dead import DeadApi
from balancer.api.health import HealthApi
from balancer.api.metrics import BalancerCollector, MetricsApi
from balancer.api.openapi import document
from balancer.api.tasks import TasksApi
from balancer.api.views import TaskViews
from balancer.api.workers import WorkersApi
from shared.edge.answers import render_failure
from shared.edge.codec import authorize_balancer
from shared.edge.http_shell import answer_logs, edge_application, edge_headers, respond
from shared.edge.http_shell.docs_pages import DocsPages
from shared.errors import CabrankError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.api.acceptance import Acceptance
    from balancer.api.waiting import Waiting
    from balancer.config import BalancerSettings
    from balancer.delivery.streams import Streams
    from balancer.engine import Engine
    from balancer.fleet.fleet import Fleet
    from balancer.store.ports import Store
    from shared.clock import Clock
    from shared.ids import IdSource
    from shared.log_ring import LogRing

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Apis:
    """What the routes need.

    Attributes:
        engine, fleet, store, streams, ring: what they show and change.
        settings: the balancer's, with its keys.
        version: of the software.
        ids: makes correlation ids.
        clock: tells the time.
        acceptance: accepts durable tasks, behind both shells.
        waiting: waits for their ends.
    """

    engine: Engine
    fleet: Fleet
    store: Store
    streams: Streams
    ring: LogRing
    settings: BalancerSettings
    version: str
    ids: IdSource
    clock: Clock
    acceptance: Acceptance
    waiting: Waiting


def build(apis: Apis) -> web.Application:
    """Return the application; `/health` alone is public, everything else needs the key."""
    settings = apis.settings
    key = settings.lb_auth_key or ""
    app = edge_application(apis.ids)
    views = TaskViews(apis.engine, apis.store, apis.clock)
    tasks = TasksApi(
        apis.engine, views, apis.streams, body_limit=settings.request_body_limit,
        grace_s=settings.resume_grace / 1000, acceptance=apis.acceptance, waiting=apis.waiting,
    )  # fmt: skip
    health = HealthApi(views, apis.fleet, apis.store, lb_key=key, version=apis.version)
    metrics = MetricsApi(BalancerCollector(apis.engine, apis.fleet, apis.store))

    async def logs(request: web.Request) -> web.StreamResponse:
        return await answer_logs(request, apis.ring)

    def closed(handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            headers = edge_headers(request)
            refused = authorize_balancer(headers, key)
            if refused is not None:
                return respond(request, render_failure(refused, headers))
            try:
                return await handler(request)
            except CabrankError as exc:  # such as a store that is out, or a cursor that is not ours
                return respond(request, render_failure(exc.failure, headers))

        return guarded

    app.add_routes(
        [
            web.post("/task", closed(tasks.post)),
            web.get("/tasks", closed(tasks.list)),
            web.get("/tasks/{id}", closed(tasks.get)),
            web.get("/tasks/{id}/stream", closed(tasks.resume)),
            web.post("/tasks/{id}/cancel", closed(tasks.cancel)),
            *DeadApi(apis.engine.dead, apis.store.dead, views).routes(closed),
            *WorkersApi(apis.fleet).routes(closed),
            web.get("/health", health.get),
            web.get("/logs", closed(logs)),
            web.get("/metrics", closed(metrics.get)),
        ]
    )
    if settings.openapi_enabled:
        pages = DocsPages("Cabrank balancer", lambda: document(apis.fleet.workers(), apis.version))
        app.add_routes(pages.routes(closed))
    return app
