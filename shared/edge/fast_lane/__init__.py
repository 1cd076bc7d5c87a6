"""The fast lane: `POST /task` on a small httptools protocol, everything else by aiohttp, on one port.

A connection begins here. As long as its requests are plain calls it stays: one request at a time,
pipelined ones in order, no timer and no future a request, and no task unless the answer has to wait
for the store or a webhook. At anything else (another path, a stream, an upgrade, `Expect`, chunked,
compressed or oversized bodies, HTTP/1.0, a syntax error, a slow sender, anything odd) the connection
is handed over for good, its unanswered bytes first, so that whatever is unusual gets exactly the answer
that the other shell gives. Nothing that happened before a hand-over has side effects.

    data ─▶ head complete? ─▶ plain call? ─▶ body complete? ─▶ Desk.take ─▶ … finished ─▶ answer
                                  │ no            │ slow           │ None
                                  └───────────────┴─▶ aiohttp ◀────┘

    Connection   one connection while it is in the lane; the sink of the one task that it waits for
    Heads        judges heads; llhttp reads each text once a second at most, clients repeat theirs
    Responses    turns answers into bytes
    FastLane     one listening socket: its connections, the sweep over idle and slow ones, the end
    Desk         what stands behind the lane in one process

httptools gives no offsets, so the blank line and Content-Length split the stream and llhttp (the
parser that aiohttp has too) judges the head. A connection has no parser of its own: an idle one costs
a few hundred bytes beside its transport.
"""

from __future__ import annotations

from shared.edge.fast_lane.desk import Desk, Taken
from shared.edge.fast_lane.lane import FastLane

__all__ = ["Desk", "FastLane", "Taken"]
