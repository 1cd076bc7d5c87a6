"""The routes of a worker, put together on its one port (contract §3, §7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from shared.edge.http_shell import edge_application
from shared.edge.http_shell.docs_pages import DocsPages
from worker.api.health import HealthRoute
from worker.api.home import HomeRoute
from worker.api.logs import LogsRoute
from worker.api.maintenance import MaintenanceRoutes
from worker.api.metrics import Metrics, MetricsRoute
from worker.api.openapi import document
from worker.api.status import LINK_PATH
from worker.api.task import TaskRoute

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shared.edge.codec import Keys
    from shared.ids import IdSource
    from shared.log import LogRing, TaskLog
    from worker.api.status import WorkerStatus
    from worker.config import WorkerSettings
    from worker.engine import WorkerEngine
    from worker.legacy import LegacySocket
    from worker.link import LinkServer
    from worker.modes.webhook import WebhookMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the routes are made of.

    Attributes:
        settings: of the worker.
        keys: its keys.
        engine: runs tasks.
        webhooks: runs those of mode webhook.
        status: what the worker says about itself.
        ring: the last lines of its log.
        task_log: notes refused tasks.
        ids: makes ids of tasks and of requests.
        link: serves the links of balancers.
        legacy: serves the slot sockets of legacy balancers.
        drained: waits until nothing is under way any more, at most so many seconds.
    """

    settings: WorkerSettings
    keys: Keys
    engine: WorkerEngine
    webhooks: WebhookMode
    status: WorkerStatus
    ring: LogRing
    task_log: TaskLog
    ids: IdSource
    link: LinkServer
    legacy: LegacySocket
    drained: Callable[[float], Awaitable[bool]]


def build(parts: Parts) -> web.Application:
    """Return the application of a worker."""
    app = edge_application(parts.ids)
    settings, keys = parts.settings, parts.keys
    task = TaskRoute(
        parts.engine, parts.webhooks, keys, parts.ids, parts.task_log,
        contract=settings.contract, body_limit=settings.request_body_limit,
    )  # fmt: skip
    maintenance = MaintenanceRoutes(parts.engine, parts.drained, keys)
    home = HomeRoute(parts.status, parts.legacy, docs=settings.openapi_enabled)
    app.add_routes(
        [
            web.post("/task", task.handle),
            web.get("/health", HealthRoute(parts.status, keys).handle),
            web.get("/logs", LogsRoute(parts.ring, keys).handle),
            web.post("/off", maintenance.off),
            web.post("/on", maintenance.on),
            web.get("/metrics", MetricsRoute(_metrics(parts)).handle),
            web.get("/", home.handle),
            web.get(LINK_PATH, parts.link.handle),
        ]
    )
    if settings.openapi_enabled:
        app.add_routes(DocsPages("Cabrank worker", lambda: _document(parts)).routes())
    return app


def _metrics(parts: Parts) -> Metrics:
    who = parts.status.identity
    info = {
        "version": parts.status.version,
        "worker_id": who.worker_id,
        "group": who.group,
        "contract": str(who.contract),
    }
    return Metrics(parts.engine, parts.webhooks.counts, info)


def _document(parts: Parts) -> dict[str, object]:
    return document(
        parts.engine.specs(),
        group=parts.settings.group,
        contract=parts.settings.contract,
        version=parts.status.version,
    )
