"""A worker that speaks only the HTTP contract: Andera's, or anything else with `POST /task`.

Slots come from its slot socket (`fleet/slot_socket.py`), else from /health; tasks go by HTTP. Such a
worker queues for itself and cannot resume, so the promises of one slot one task and of resume do not
hold for it; a call that breaks counts as a lost worker. A call does not depend on the slot socket or
on /health: it goes on while they come and go.
"""

from __future__ import annotations

import asyncio
import codecs
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from balancer.fleet.replies import outcome_of_reply
from shared.errors import Failure, failure
from shared.slot_report import SlotReport
from shared.task import Mode, Outcome, PieceKind
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from balancer.core.live_task import LiveTask
    from balancer.fleet.ports import FleetEvents
    from balancer.fleet.worker import FleetWorker
    from shared.ids import TaskId, Token

MAX_REPLY = 64 * 1024**2  # bytes of one answer; what a link carries too
PIECE = 64 * 1024  # bytes read at once from a stream
ORDER_TIMEOUT_S = 5.0  # of POST /on and /off
# Node, which Andera runs on, closes a connection that is idle for 5 s: one that may be closing just
# now must not get a task, which could not be sent again without running twice.
KEEP_ALIVE_S = 3.0


def worker_session(connect_timeout_s: float) -> aiohttp.ClientSession:
    """Return a session for calls to workers.

    Slots bound the calls, not the connector; and but for connecting there is no time-out: a task's
    deadline is the only one (a hidden cap would end long tasks, fault 14).
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s),
    )


class _Call:
    """One task under way by HTTP."""

    __slots__ = ("credit", "enough", "job")

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.enough = asyncio.Event()
        self.enough.set()
        self.job: asyncio.Task[None] | None = None

    def spend(self, size: int) -> None:
        self.credit -= size
        if self.credit <= 0:
            self.enough.clear()

    def grant(self, size: int) -> None:
        self.credit += size
        if self.credit > 0:
            self.enough.set()


class HttpWorkerPort:
    """The way to a plain HTTP worker.

    Args:
        worker: what is known of the worker.
        events: the engine.
        session: connections to workers, without limits of their own.
        lb_key: LB_AUTH_KEY.
        auth_key: the worker's key unless its entry or the task names one.
        stream_credit: bytes of pieces under way in one stream.
    """

    def __init__(
        self, worker: FleetWorker, events: FleetEvents, session: aiohttp.ClientSession, *,
        lb_key: str, auth_key: str, stream_credit: int,
    ) -> None:  # fmt: skip
        self.worker = worker
        self._events = events
        self._session = session
        self._lb_key = lb_key
        self._auth_key = auth_key
        self._stream_credit = stream_credit
        self._calls: dict[Token, _Call] = {}

    # The engine's port

    def dispatch(self, task: LiveTask, body: bytes, remaining_s: float | None) -> bool:
        """Start a call."""
        if task.token is None:
            return False
        call = self._calls[task.token] = _Call(self._stream_credit)
        call.job = asyncio.get_running_loop().create_task(
            self._serve(call, task, task.token, self._body(task, body))
        )
        return True

    def cancel(self, token: Token, reason: str) -> None:
        """Close the call's connection: all that plain HTTP can say."""
        call = self._calls.pop(token, None)
        if call is not None and call.job is not None:
            call.job.cancel()

    def ack(self, token: Token) -> None:
        """Do nothing: an HTTP worker has forgotten already."""

    def credit(self, token: Token, size: int) -> None:
        """Let a stream be read further."""
        call = self._calls.get(token)
        if call is not None:
            call.grant(size)

    def demand(self, count: int, best_priority: float) -> None:
        """Do nothing: such a worker does not share its slots."""

    # The dialer's

    async def order(self, on: bool) -> Failure | None:
        """Order the worker into maintenance or back; returns why it does not obey, or None."""
        limit = aiohttp.ClientTimeout(total=ORDER_TIMEOUT_S)
        url = f"{self.worker.entry.url}/{'off' if on else 'on'}"
        try:
            async with self._session.post(url, headers=self._keys(None), timeout=limit) as reply:
                if reply.status == 200:
                    return None
                return failure("worker_unreachable", f"Worker answered {reply.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            text = f"Worker could not be reached: {type(exc).__name__}"
            return failure("worker_unreachable", text)

    async def close(self) -> None:
        """End every call; who waits for one must be told by the caller."""
        jobs = [call.job for call in self._calls.values() if call.job is not None]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    # Calls

    def _keys(self, own: str | None) -> dict[str, str]:
        key = own or self.worker.entry.auth_key or self._auth_key
        return {"authorization": key, "x-lb-auth": self._lb_key}

    def _headers(self, task: LiveTask) -> dict[str, str]:
        return {
            **self._keys(task.request.worker_key),
            "content-type": "application/json",
            "x-correlation-id": task.request.correlation_id,
        }

    def _body(self, task: LiveTask, body: bytes) -> bytes:
        group, contract, function = task.lane
        mode = Mode.STREAM if task.request.mode is Mode.STREAM else Mode.SYNC
        fields: dict[str, object] = {
            "group": group,
            "function": function,
            "contract": contract,
            "input": msgspec.Raw(body),
            "mode": mode,
            "priority": task.request.priority,
        }
        if task.request.timeout_s is not None:
            fields["timeout_s"] = task.request.timeout_s
        return msgspec.json.encode(fields)

    async def _serve(self, call: _Call, task: LiveTask, token: Token, body: bytes) -> None:
        try:
            if task.request.mode is Mode.STREAM:
                await self._stream(call, task, token, body)
            else:
                await self._answer(task, token, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            # Nothing was sent, so nothing ran: back to its place, and no task until the next report.
            report = SlotReport(limit=self.worker.report.limit if self.worker.report else 0)
            self._events.refused(self.worker.id, token, "no_slot", str(exc), report)
        except Exception as exc:  # whatever it was, the attempt must not be waited for any longer
            lost = Failure("worker_lost", f"The call to the worker broke: {type(exc).__name__}")
            self._finish(token, task.id, Outcome(TaskStatus.FAILED, None, lost))
        finally:
            self._calls.pop(token, None)

    async def _answer(self, task: LiveTask, token: Token, body: bytes) -> None:
        async with self._session.post(
            f"{self.worker.entry.url}/task", data=body, headers=self._headers(task)
        ) as reply:
            self._end(token, task.id, reply.status, await _read_bounded(reply))

    async def _stream(self, call: _Call, task: LiveTask, token: Token, body: bytes) -> None:
        # A worker that may compress keeps the pieces back until there is enough (fault 7).
        headers = {**self._headers(task), "accept-encoding": "identity"}
        async with self._session.post(
            f"{self.worker.entry.url}/task", data=body, headers=headers
        ) as reply:
            if reply.status != 200 or reply.content_type == "application/json":
                # Andera refuses a stream with status 200 and an error as JSON (fault 8).
                self._end(token, task.id, reply.status, await _read_bounded(reply), stream=True)
                return
            seq = 0
            decode = codecs.getincrementaldecoder("utf-8")("replace").decode
            async for piece in reply.content.iter_any():
                await call.enough.wait()
                text = decode(piece).encode()
                if text:
                    seq += 1
                    call.spend(len(text))
                    self._events.chunk(self.worker.id, token, seq, PieceKind.TEXT, text)
            self._finish(token, task.id, Outcome(TaskStatus.SUCCEEDED))

    def _end(
        self, token: Token, task_id: TaskId, status: int, raw: bytes, *, stream: bool = False
    ) -> None:
        outcome = outcome_of_reply(status, raw, stream=stream)
        if outcome.failure is not None and outcome.failure.code in ("maintenance", "queue_full"):
            report = self.worker.report or SlotReport()
            busy = SlotReport(limit=report.limit, used=report.limit, maintenance=report.maintenance)
            self._events.refused(
                self.worker.id, token, outcome.failure.code, outcome.failure.message, busy
            )
        else:
            self._finish(token, task_id, outcome)

    def _finish(self, token: Token, task_id: TaskId, outcome: Outcome) -> None:
        self._events.finished(self.worker.id, token, task_id, outcome)


async def _read_bounded(reply: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in reply.content.iter_chunked(PIECE):
        size += len(part)
        if size > MAX_REPLY:
            raise ValueError("answer too large")
        parts.append(part)
    return b"".join(parts)
