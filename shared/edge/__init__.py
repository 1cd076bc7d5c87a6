"""The HTTP edge of both processes: one pure codec and the limits that every shell applies.

    bytes ─▶ codec.parse_task ─▶ TaskRequest | Failure          pure: the checks, their order, their texts
    Outcome | Failure ─▶ answers.render_* ─▶ Answer             pure: status, headers, body
    Piece … Outcome ─▶ streams.StreamSink ─▶ stream_format      pure: buffer, credit, resume, bytes
    http_shell/ (aiohttp)                                       the shell: sockets, time-outs, who left

A shell reads a request, asks the codec, hands the task to its engine and writes what comes back. No
shell checks a field or words an error by itself, so that all of them answer alike.
"""

from __future__ import annotations
