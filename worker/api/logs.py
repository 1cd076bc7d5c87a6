"""`GET /logs`: the last lines of the log, for either key (contract §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.codec import authorize_logs
from shared.edge.http_shell import answer_logs, edge_headers, refuse

if TYPE_CHECKING:
    from aiohttp import web

    from shared.edge.codec import Keys
    from shared.log import LogRing


class LogsRoute:
    """Shows the log.

    Args:
        ring: has the lines.
        keys: of the worker.
    """

    def __init__(self, ring: LogRing, keys: Keys) -> None:
        self._ring = ring
        self._keys = keys

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        refused = authorize_logs(edge_headers(request), *self._keys)
        if refused is not None:
            return refuse(request, refused)
        return await answer_logs(request, self._ring)
