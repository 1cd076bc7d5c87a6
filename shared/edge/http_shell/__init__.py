"""The aiohttp shell of the edge, for both processes: one way to read bodies, answer, stream and refuse.

    app = edge_application(ids)            middleware: correlation id, errors as contract bodies
    app.router.add_post("/task", handler)
    runner = await listen(app, ids, host=…, port=…)

A handler does: `edge_headers` → authorize → `read_body` → `parse_task` → submit with a `SyncSink` or
a `StreamSink` → `respond` or `write_stream`. A client that leaves cancels its handler
(`handler_cancellation`), and that is how sinks notice. Nothing is ever compressed: a compressor
would hold pieces of a stream back.
"""

from __future__ import annotations

from shared.edge.http_shell.exchange import SyncSink, edge_headers, read_body, refuse, respond
from shared.edge.http_shell.logs import answer_logs
from shared.edge.http_shell.server import (
    CORRELATION_HEADER,
    SERVER,
    EdgeRunner,
    edge_application,
    listen,
)
from shared.edge.http_shell.stream import write_stream

__all__ = [
    "CORRELATION_HEADER",
    "EdgeRunner",
    "SERVER",
    "SyncSink",
    "answer_logs",
    "edge_application",
    "edge_headers",
    "listen",
    "read_body",
    "refuse",
    "respond",
    "write_stream",
]
