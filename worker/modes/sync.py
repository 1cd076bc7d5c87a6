"""Mode sync on a worker that was asked directly: the answer comes in the same call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.codec import render_failure, render_outcome
from shared.edge.http_shell import SyncSink
from shared.errors import Failure

if TYPE_CHECKING:
    from shared.edge.codec import Answer, EdgeHeaders
    from shared.ids import TaskId
    from shared.task import Outcome, TaskRequest
    from worker.engine import WorkerEngine

CALLER_LEFT = "the caller left"


async def call(engine: WorkerEngine, request: TaskRequest, task_id: TaskId) -> Outcome | Failure:
    """Run a task and wait for its end; a failure means that it was not taken.

    A caller who leaves (the call is cancelled) cancels the task.
    """
    sink = SyncSink()
    taken = engine.submit(request, sink, task_id)
    if isinstance(taken, Failure):
        return taken

    def leave() -> None:
        engine.cancel(task_id, CALLER_LEFT)

    return await sink.outcome(leave)


async def answer(
    engine: WorkerEngine, request: TaskRequest, task_id: TaskId, headers: EdgeHeaders
) -> Answer:
    """Run a task and return the answer to its caller."""
    end = await call(engine, request, task_id)
    if isinstance(end, Failure):
        return render_failure(end, headers)
    return render_outcome(end, task_id, headers)
