"""A worker that speaks only the HTTP contract: Andera's, or anything else with `POST /task`.

Slots come from its slot socket (contract §7), else from /health; tasks go by HTTP. Such a worker
queues for itself and cannot resume, so the promises of one slot one task and of resume do not hold
for it; a call that breaks counts as a lost worker.
"""

from __future__ import annotations

import asyncio
import codecs
import json
from typing import TYPE_CHECKING, cast

import aiohttp
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from balancer.fleet.replies import outcome_of_reply
from shared.errors import Failure
from shared.ids import TaskId, Token
from shared.slot_report import SlotReport
from shared.task import Mode, Outcome, PieceKind
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from balancer.core.live_task import LiveTask
    from balancer.fleet.ports import FleetEvents
    from balancer.fleet.worker import FleetWorker

MAX_MESSAGE = 1024 * 1024  # bytes of one message of the slot socket
MAX_REPLY = 64 * 1024**2  # bytes of one answer; what a link carries too
PIECE = 64 * 1024  # bytes read at once from a stream
CONNECT_S = 3.0


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
        changed: called when something shown of the worker changed.
    """

    def __init__(
        self, worker: FleetWorker, events: FleetEvents, session: aiohttp.ClientSession, *,
        lb_key: str, auth_key: str, stream_credit: int, changed: Callable[[FleetWorker], None],
    ) -> None:  # fmt: skip
        self.worker = worker
        self._events = events
        self._session = session
        self._lb_key = lb_key
        self._auth_key = auth_key
        self._stream_credit = stream_credit
        self._changed = changed
        self._calls: dict[Token, _Call] = {}

    # The engine's port

    def dispatch(self, task: LiveTask, body: bytes, remaining_s: float | None) -> bool:
        """Start a call."""
        if task.token is None:
            return False
        call = _Call(self._stream_credit)
        self._calls[task.token] = call
        serve = self._stream if task.request.mode is Mode.STREAM else self._answer
        call.job = asyncio.get_running_loop().create_task(
            self._guarded(
                task.token, task.id, serve(call, task, task.token, self._body(task, body))
            )
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

    async def close(self) -> None:
        """End every call."""
        jobs = [call.job for call in self._calls.values() if call.job is not None]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    # Calls

    def _headers(self, task: LiveTask) -> dict[str, str]:
        key = task.request.worker_key or self.worker.entry.auth_key or self._auth_key
        return {
            "authorization": key,
            "x-lb-auth": self._lb_key,
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

    async def _guarded(
        self, token: Token, task_id: TaskId, call: Coroutine[object, object, None]
    ) -> None:
        try:
            await call
        except aiohttp.ClientConnectorError as exc:
            # Nothing was sent, so nothing ran: back to its place, and no task until the next report.
            report = SlotReport(limit=self.worker.report.limit if self.worker.report else 0)
            self._events.refused(self.worker.id, token, "no_slot", str(exc), report)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            lost = Failure("worker_lost", f"The call to the worker broke: {type(exc).__name__}")
            self._finish(token, task_id, Outcome(TaskStatus.FAILED, None, lost))
        finally:
            self._calls.pop(token, None)

    async def _answer(self, call: _Call, task: LiveTask, token: Token, body: bytes) -> None:
        async with self._session.post(
            f"{self.worker.entry.url}/task", data=body, headers=self._headers(task)
        ) as reply:
            raw = await _read_bounded(reply)
            self._end(token, task.id, reply.status, raw)

    async def _stream(self, call: _Call, task: LiveTask, token: Token, body: bytes) -> None:
        async with self._session.post(
            f"{self.worker.entry.url}/task", data=body, headers=self._headers(task)
        ) as reply:
            if reply.status != 200 or reply.content_type == "application/json":
                # Andera refuses a stream with status 200 and an error as JSON.
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

    # Slots

    async def watch(self, heartbeat_s: float, timeout_s: float) -> None:
        """Follow the slot socket until it closes.

        Raises:
            OSError, TimeoutError, WebSocketException: it cannot be opened, or the worker is silent.
        """
        scheme, _, address = self.worker.entry.url.partition("://")
        host = address.rpartition(":")[0]
        port = self.worker.websocket_port or int(address.rpartition(":")[2])
        url = f"{'wss' if scheme == 'https' else 'ws'}://{host}:{port}/"
        async with connect(
            url, subprotocols=[Subprotocol(self._lb_key)], proxy=None, compression=None,
            max_size=MAX_MESSAGE, ping_interval=None, open_timeout=CONNECT_S, close_timeout=1.0,
        ) as socket:  # fmt: skip
            await socket.send("ping")
            while True:
                try:
                    message = await asyncio.wait_for(socket.recv(), heartbeat_s)
                except TimeoutError:
                    # Andera's worker tells something each second; a ping asks one that is idle.
                    await socket.send("ping")
                    message = await asyncio.wait_for(socket.recv(), timeout_s)
                except ConnectionClosed:
                    return
                self.hear(message)

    def hear(self, message: str | bytes) -> None:
        """Take one message of the slot socket; what is malformed is ignored."""
        try:
            told: object = json.loads(message)
        except ValueError:
            return
        if not isinstance(told, dict):
            return
        known = cast("dict[str, object]", told)
        report = report_of_view(known)
        self.worker.learn(known)
        if report is not None:
            self.worker.report = report
            self._events.reported(self.worker.id, report)
        self._changed(self.worker)


def report_of_view(known: dict[str, object]) -> SlotReport | None:
    """Return the report in a status message or /health answer, or None when there is none."""
    raw = known.get("slots")
    if not isinstance(raw, dict):
        return None
    slots = cast("dict[str, object]", raw)

    def number(name: str) -> int:
        value = slots.get(name)
        return max(0, int(value)) if isinstance(value, int | float) else 0

    return SlotReport(
        available=number("available"), limit=number("limit"), used=number("used"), queue=number("queue"),
        maintenance=known.get("status") == "maintenance",
    )  # fmt: skip


async def _read_bounded(reply: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in reply.content.iter_chunked(PIECE):
        size += len(part)
        if size > MAX_REPLY:
            raise ValueError("answer too large")
        parts.append(part)
    return b"".join(parts)
