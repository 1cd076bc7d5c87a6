"""The fast lane: `POST /task` on a small httptools protocol, everything else by aiohttp, on one port.

A connection begins here. As long as its requests are plain sync calls it stays: one request at a
time, pipelined ones in order, no timer, task or future per request. At anything else (another path, a
stream, an upgrade, `Expect`, chunked, compressed or oversized bodies, HTTP/1.0, a syntax error,
anything odd) the connection is handed over for good, its unanswered bytes first, so that whatever is
unusual gets exactly the answer that the other shell gives. Nothing that happened before a hand-over
has side effects.

    data ─▶ head complete? ─▶ plain call? ─▶ body complete? ─▶ Desk.take ─▶ … finished ─▶ answer
                                  │ no                             │ None
                                  └──────────────▶ aiohttp ◀───────┘

httptools gives no offsets, so the blank line and Content-Length split the stream and llhttp (the
parser that aiohttp has too) judges the head.
"""

from __future__ import annotations

from shared.edge.fast_lane.desk import Desk
from shared.edge.fast_lane.lane import FastLane

__all__ = ["Desk", "FastLane"]
