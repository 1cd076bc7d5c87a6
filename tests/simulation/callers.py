"""Callers: they ask, wait, read their streams at their own pace, and sometimes leave."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from balancer.core.live_task import LiveTask
from shared.errors import Failure
from shared.task import Mode, Outcome, Piece, TaskRequest, WebhookTarget
from tests.simulation.cases import Stand

if TYPE_CHECKING:
    from tests.simulation.cases import Case
    from tests.simulation.control import Control
    from tests.simulation.watched_engine import WatchedEngine
    from tests.simulation.witness import Witness

CREDIT = 256 * 1024  # of a stream, as the balancer's links grant it
ANSWER_S = 0.5  # how late the answer to a call may be after its deadline: ticks, wheels


class Caller:
    """One caller at one balancer process; the sink of its task.

    Args:
        case: what it asks for.
        control: the balancer.
        witness: is told what it sees.
    """

    def __init__(self, case: Case, control: Control, witness: Witness) -> None:
        self._case = case
        self._witness = witness
        self._engine: WatchedEngine = control.engine
        self._process = control.process
        self._asking: asyncio.Task[None] | None = None
        self._task: LiveTask | None = None
        self._outcome: Outcome | None = None
        self._seen = 0  # number of the last piece
        self._unread = 0
        self._from = ""  # token of the attempt whose pieces were read

    # What it does

    def ask(self) -> None:
        """Ask; inside the balancer's process, as the HTTP edge would."""
        order = self._case.order
        if order.leaves_after_s is not None:
            self._process.loop.call_later(order.leaves_after_s, self._leave)
        if order.mode is Mode.WEBHOOK:
            self._asking = self._process.loop.create_task(self._hand_over())
            return
        taken = self._engine.submit(self._request(), self)
        if isinstance(taken, LiveTask):
            self._task = taken

    async def _hand_over(self) -> None:
        case = self._case
        taken = await self._engine.accept(self._request())
        if isinstance(taken, Failure):
            self._witness.turned_away(case, taken.code)
            return
        self._witness.check(case.kept, f"{taken.id} is accepted and not on disk")
        self._witness.trace.note("accepted", taken.id)
        case.promised = True

    def _leave(self) -> None:
        """Go away without a word."""
        case = self._case
        if case.left or self._outcome is not None:
            return
        case.left = True
        self._witness.trace.note("leave", case.order.n)
        if self._asking is not None:
            self._asking.cancel()  # what the edge does; afterwards nobody waits for the result
        elif self._task is not None and case.task_id is not None:
            self._engine.cancel(case.task_id, "the caller left")
            self._witness.check(
                case.stand is Stand.ENDED, f"{case.task_id} goes on without a caller"
            )

    def _request(self) -> TaskRequest:
        order = self._case.order
        group, contract, function = order.lane
        durable = order.mode is Mode.WEBHOOK
        return TaskRequest(
            function=function, contract=contract, group=group, priority=order.priority,
            input=json.dumps(order.fields).encode(), mode=order.mode,
            webhook=WebhookTarget(url="http://caller/hook") if durable and order.webhook else None,
            timeout_s=order.timeout_s, deadline_s=order.deadline_s, max_attempts=order.max_attempts,
            correlation_id=str(order.n),
        )  # fmt: skip

    # What it gets (shared.task.Sink)

    def piece(self, piece: Piece) -> None:
        """Read a piece: each comes once, in order, of one attempt."""
        case, check = self._case, self._witness.check
        number, token, pad = piece.data.decode().split(":")
        text = f"{case.task_id} got piece {number} of {token} after {self._seen} of {self._from}"
        check(self._outcome is None, f"{case.task_id} got a piece after its end")
        check(int(number) == piece.seq == self._seen + 1, text)
        check(self._from in ("", token), text)
        check(case.task is not None and case.task.token == token, f"{text}, a stale one")
        self._seen, self._from = piece.seq, token
        self._unread += len(piece.data)
        check(
            self._unread <= CREDIT + len(piece.data), f"{case.task_id}: {self._unread} bytes unread"
        )
        size = len(piece.data)
        self._process.loop.call_later(size / case.order.reads_per_s, self._read, size)
        del pad

    def finished(self, outcome: Outcome) -> None:
        """Take the end: once, in time, and whole."""
        case, check, now_s = self._case, self._witness.check, self._witness.time.now_s
        check(self._outcome is None, f"{case.task_id} ended twice")
        self._outcome = outcome
        if outcome.ok and case.order.lane[2] == "pieces":
            wanted = case.order.fields["count"] if case.order.mode is Mode.STREAM else 0
            check(self._seen == wanted, f"{case.task_id} got {self._seen} of {wanted} pieces")
        task = case.task
        assert task is not None
        if task.deadline_s is not None:
            # While a process is stopped nobody can answer; soon after it goes on somebody must.
            due_s = max(task.deadline_s, self._process.healthy_s)
            check(now_s <= due_s + ANSWER_S, f"{case.task_id} ended {now_s - due_s:.3f} s late")

    def _read(self, size: int) -> None:
        self._unread -= size
        if self._task is not None:
            self._engine.grant(self._task, size)
