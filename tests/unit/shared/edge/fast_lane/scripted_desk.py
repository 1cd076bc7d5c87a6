"""A desk whose tasks do what their bodies say."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, cast

from shared import log
from shared.edge.answers import Answer, render_value
from shared.errors import Failure, Unavailable, failure
from shared.task import Outcome
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from shared.edge.fast_lane import Taken
    from shared.edge.headers import EdgeHeaders
    from shared.task import Sink

KEY = "the-key"
BIG = 24 * 1024 * 1024  # more than the socket buffers of both ends hold


class ScriptedDesk:
    """Takes tasks for whoever has the key.

    A body is `{"do": …, "say": …}`. `now` ends while it is submitted, `hold` when the test lets it go,
    `big` so with much to say, `wait` is answered by a coroutine that the test lets go, `refuse` is
    refused, `other` is none for the lane, `crash` and `outage` raise; `wait-crash` raises while it is
    waited for, `wait-cancel` is cancelled by somebody else then.

    Attributes:
        taken: the bodies, in order.
        correlation_ids: of the requests, in the same order.
        held: the sinks of tasks that were not let go, by id.
        left_ids: tasks whose caller left.
        told: codes that strangers were told.
        gate: lets coroutines go on.
        cancelled: coroutines that were cancelled.
        asked: how often a key was checked.
        logged_under: the correlation ids that log lines of coroutines would have.
    """

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.correlation_ids: list[str] = []
        self.held: dict[str, tuple[Sink, str]] = {}
        self.left_ids: list[str] = []
        self.told: list[str] = []
        self.gate = asyncio.Event()
        self.cancelled = 0
        self.asked = 0
        self.logged_under: list[str] = []

    def authorize(self, headers: EdgeHeaders) -> Failure | None:
        """Check the key."""
        self.asked += 1
        return None if headers.authorization == KEY else failure("unauthorized")

    def refused(self, reason: Failure, correlation_id: str) -> None:
        """Note it."""
        self.told.append(reason.code)

    def take(
        self, body: bytes | bytearray, headers: EdgeHeaders, correlation_id: str, sink: Sink
    ) -> Taken:
        """Do what the body says."""
        given = cast("dict[str, str]", json.loads(body))
        do, say = given["do"], given.get("say", "")
        if do == "other":
            return None
        self.taken.append(bytes(body))
        self.correlation_ids.append(correlation_id)
        if do == "refuse":
            return failure("queue_full", retry_after_s=2.5)
        if do == "crash":
            raise RuntimeError("secret-of-the-server")
        if do == "outage":
            raise Unavailable(failure=failure("store_unavailable", retry_after_s=1))
        if do.startswith("wait"):
            return self._answer(do, say, headers)
        task_id = f"task-{len(self.taken)}"
        if do in ("now", "big"):
            sink.finished(_said(say if do == "now" else "x" * BIG))
        else:
            self.held[task_id] = (sink, say)
        return task_id

    def left(self, task_id: str) -> None:
        """Note it; the task ends, as with an engine."""
        self.left_ids.append(task_id)
        sink, _ = self.held.pop(task_id)
        sink.finished(Outcome(TaskStatus.CANCELLED, failure=failure("cancelled")))

    def let_go(self) -> None:
        """End the oldest held task."""
        task_id = next(iter(self.held))
        sink, say = self.held.pop(task_id)
        sink.finished(_said(say))

    async def _answer(self, do: str, say: str, headers: EdgeHeaders) -> Answer:
        self.logged_under.append(log.correlation_id.get())
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if do == "wait-cancel":
            raise asyncio.CancelledError
        if do == "wait-crash":
            raise RuntimeError("secret-of-the-server")
        return render_value({"said": say}, headers, 202)


def _said(say: str) -> Outcome:
    return Outcome(TaskStatus.SUCCEEDED, result=json.dumps(say).encode())
