"""`POST /task` and the tasks' own routes (contract §5). No logic: codec in front, engine behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from balancer.api.schemas import task_view
from balancer.api.task_pages import page_of, read_query
from balancer.api.waiting import read_wait
from shared.edge.answers import render_failure, render_outcome, render_value
from shared.edge.codec import BalancerRules, is_durable, parse_task
from shared.edge.http_shell import SyncSink, edge_headers, read_body, respond, write_stream
from shared.edge.stream_format import choose
from shared.edge.streams import StreamSink
from shared.errors import Failure, failure
from shared.ids import TaskId
from shared.task import Mode
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from aiohttp import web

    from balancer.api.acceptance import Acceptance
    from balancer.api.views import TaskViews
    from balancer.api.waiting import Waiting
    from balancer.delivery.streams import Streams
    from balancer.engine import Engine
    from shared.edge.headers import EdgeHeaders
    from shared.task import TaskRequest


class TasksApi:
    """Takes tasks and shows them.

    Args:
        engine: where they go.
        views: where they are seen.
        streams: streams that may be taken up again.
        body_limit: largest body, in bytes.
        grace_s: how long an SSE stream waits for its reader.
        acceptance: accepts durable ones.
        waiting: waits for their ends.
    """

    def __init__(
        self,
        engine: Engine,
        views: TaskViews,
        streams: Streams,
        *,
        body_limit: int,
        grace_s: float,
        acceptance: Acceptance,
        waiting: Waiting,
    ) -> None:
        self._engine = engine
        self._views = views
        self._streams = streams
        self._body_limit = body_limit
        self._grace_s = grace_s
        self._acceptance = acceptance
        self._waiting = waiting
        self._rules = BalancerRules(engine.scheduler)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take a task and answer as its mode says."""
        headers = edge_headers(request)
        body = await read_body(request, self._body_limit)
        task = body if isinstance(body, Failure) else parse_task(body, headers, self._rules)
        if isinstance(task, Failure):
            return respond(request, render_failure(task, headers))
        if is_durable(task.mode, headers):
            return respond(request, await self._acceptance.answer(task, headers))
        if task.mode is Mode.STREAM:
            return await self._stream(request, task, headers)
        return await self._call(request, task, headers)

    async def _call(
        self, request: web.Request, task: TaskRequest, headers: EdgeHeaders
    ) -> web.StreamResponse:
        sink = SyncSink()
        live = self._engine.submit(task, sink)
        if isinstance(live, Failure):
            return respond(request, render_failure(live, headers))
        outcome = await sink.outcome(lambda: self._left(live.id))
        return respond(request, render_outcome(outcome, live.id, headers))

    async def _stream(
        self, request: web.Request, task: TaskRequest, headers: EdgeHeaders
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        sink = StreamSink(choose(headers.accept), loop, grace_s=self._grace_s)
        live = self._engine.submit(task, sink)
        if isinstance(live, Failure):
            return respond(request, render_failure(live, headers))
        sink.bind(
            live.id,
            on_grant=lambda size: self._engine.grant(live, size),
            on_leave=lambda: self._left(live.id),
        )
        self._streams.add(sink)
        return await self._read_stream(request, sink, 0)

    async def _read_stream(
        self, request: web.Request, sink: StreamSink, after: int
    ) -> web.StreamResponse:
        reader = sink.attach(after)
        if isinstance(reader, Failure):
            return respond(request, render_failure(reader, edge_headers(request)))
        return await write_stream(request, sink, reader)

    def _left(self, task_id: TaskId) -> None:
        self._engine.cancel(task_id, "the caller left")

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show one task; with `?wait=`, once it has ended or the time is over."""
        headers = edge_headers(request)
        task_id, wait_s = TaskId(request.match_info["id"]), read_wait(request.query)
        if wait_s:
            with self._engine.waiters.seat():
                record = await self._waiting.record(task_id, wait_s)
        else:
            record = await self._views.find(task_id)
        if record is None:
            return respond(request, render_failure(failure("task_not_found"), headers))
        return respond(request, render_value(task_view(record), headers))

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """Take up an SSE stream after `Last-Event-ID`."""
        headers = edge_headers(request)
        sink = self._streams.get(request.match_info["id"])
        if sink is None:
            return respond(request, render_failure(failure("task_not_found"), headers))
        return await self._read_stream(request, sink, headers.resume_after)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancel a task that has not ended."""
        headers = edge_headers(request)
        task_id = TaskId(request.match_info["id"])
        if self._engine.cancel(task_id, "cancelled by request"):
            if not await self._engine.settled(task_id):
                unsure = failure("store_unavailable", retry_after_s=1)
                return respond(request, render_failure(unsure, headers, task_id))
            shown = {"success": True, "task_id": task_id, "status": TaskStatus.CANCELLED.value}
            return respond(request, render_value(shown, headers))
        record = await self._views.find(task_id)
        if record is None:
            return respond(request, render_failure(failure("task_not_found"), headers))
        ended = failure("task_finished", f"Task has already ended: {record.status.value}")
        return respond(request, render_failure(ended, headers, task_id))

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Show tasks, newest first, a page at a time."""
        headers = edge_headers(request)
        chosen, limit, place = read_query(request.query)
        page, following = await page_of(self._views, chosen, limit, place)
        shown = {"tasks": [task_view(record, whole=False) for record in page], "next": following}
        return respond(request, render_value(shown, headers))
