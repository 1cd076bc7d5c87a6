"""`/`: a small page that says what answers here, and the slot socket of legacy balancers."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from worker.api.status import WorkerStatus
    from worker.legacy import LegacySocket

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cabrank worker</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:38em;margin:3em auto;padding:0 1em}}</style>
</head>
<body>
<h1>Cabrank worker</h1>
<p>Version {version}, group <b>{group}</b>, contract {contract}, status <b>{status}</b>.</p>
<p>It runs functions: <code>POST /task</code> with
<code>{{"function": "…", "contract": {contract}, "input": {{}}}}</code>
and the key in <code>Authorization</code>.</p>
<ul>
{docs}<li><a href="/health">/health</a>: its status; with a key, everything about it</li>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
</ul>
</body>
</html>
"""
_DOCS = """<li><a href="/docs">/docs</a>: routes and functions (<a href="/openapi">OpenAPI</a>)</li>
"""


class HomeRoute:
    """Serves the root.

    Args:
        status: what the worker is.
        legacy: takes over when the caller wants a WebSocket.
        docs: `/docs` is served.
    """

    def __init__(self, status: WorkerStatus, legacy: LegacySocket, *, docs: bool) -> None:
        self._status = status
        self._legacy = legacy
        self._docs = docs

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._legacy.handle(request)
        who = self._status.identity
        text = _PAGE.format(
            version=escape(self._status.version),
            group=escape(who.group),
            contract=who.contract,
            status=self._status.status(),
            docs=_DOCS if self._docs else "",
        )
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)
