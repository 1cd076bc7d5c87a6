"""Mode stream on a worker that was asked directly: the answer comes piece by piece."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.edge.http_shell import edge_headers, refuse, write_stream
from shared.edge.stream_format import choose
from shared.edge.streams import StreamSink
from shared.errors import Failure
from worker.modes.sync import CALLER_LEFT

if TYPE_CHECKING:
    from aiohttp import web

    from shared.ids import TaskId
    from shared.task import TaskRequest
    from worker.engine import WorkerEngine

# Nobody can come back to a stream of a worker, it has no address there: who leaves cancels it.
GRACE_S = 0.0


async def answer(
    engine: WorkerEngine, task: TaskRequest, task_id: TaskId, request: web.Request
) -> web.StreamResponse:
    """Run a task and write its pieces to the caller, at the caller's pace."""
    sink = StreamSink(
        choose(edge_headers(request).accept), asyncio.get_running_loop(), grace_s=GRACE_S
    )

    def leave() -> None:
        engine.cancel(task_id, CALLER_LEFT)

    sink.bind(task_id, on_grant=lambda size: engine.grant(task_id, size), on_leave=leave)
    reader = sink.attach()
    assert not isinstance(reader, Failure), "a stream that is new lacks no event"
    taken = engine.submit(task, sink, task_id)
    if isinstance(taken, Failure):
        return refuse(request, taken)
    return await write_stream(request, sink, reader)
