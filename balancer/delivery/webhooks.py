"""Delivers the outbox: webhooks whose rows were committed together with the end of their task.

The store is the only memory that counts. A row is read when it is due and a try is free for its host,
tried once, and its new state is committed before it can be read again; whatever happens in between, a
restart included, the row is tried again under the same `webhook-id` (at least once). Tries are limited
overall and per host, and a host at its limit does not stand in the way of others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

from shared.client.webhook_sender import Delivered, Failed, Refused, Sent
from shared.errors import Unavailable
from shared.retry import RetryDecision
from shared.webhooks import WebhookPolicy, failure_text, host_of, next_try

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.store.ports import Done, OutboxRow, OutboxStore
    from shared.clock import Chance, Clock

MAX_TRIES_AT_ONCE = 64  # sockets and tasks; receivers answer in well under a second
MAX_TRIES_A_HOST = 8  # enough to be quick, too few to knock a receiver over
STORE_RETRY_S = 1.0  # after the store said that it is out
LONGEST_SLEEP_S = 60.0  # the wall clock may be set while we wait for a moment on it
STOP_GRACE_S = 5.0  # tries under way may end; one that does not is made again after the restart


class Sender(Protocol):
    """Tries a webhook once; the real one is `shared.client.webhook_sender.WebhookSender`."""

    async def send(
        self,
        *,
        webhook_id: str,
        url: str,
        body: bytes,
        outcome: str,
        headers: Sequence[tuple[str, str]] = (),
        correlation_id: str = "",
    ) -> Sent:
        """Try once and say what came of it."""
        ...


DELIVERED, POSTPONED, DEAD = "delivered", "postponed", "dead"  # what can come of a try

# (row, what came of the try, error text): for the log and the metrics.
Observer = Callable[["OutboxRow", str, str], None]


def _unobserved(row: OutboxRow, event: str, error: str) -> None:
    del row, event, error


class WebhookDeliverer:
    """Delivers due webhooks until it is stopped.

    Args:
        outbox: where they wait.
        sender: makes one try.
        policy: retries and their waits.
        clock: the wall clock that `next_at` is on.
        chance: jitter of the waits.
        limit: tries at once.
        host_limit: tries at once to one host and port.
        observe: told what became of each try, once that is committed.

    Attributes:
        counts: tries by what became of them.
    """

    def __init__(
        self,
        outbox: OutboxStore,
        sender: Sender,
        policy: WebhookPolicy,
        *,
        clock: Clock,
        chance: Chance,
        limit: int = MAX_TRIES_AT_ONCE,
        host_limit: int = MAX_TRIES_A_HOST,
        observe: Observer = _unobserved,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._limit = limit
        self._host_limit = host_limit
        self._observe = observe
        self._tries: dict[
            str, asyncio.Task[None]
        ] = {}  # by webhook id, until its state is committed
        self._hosts: dict[str, int] = {}  # tries under way
        self._held: dict[str, deque[OutboxRow]] = {}  # read, but their host is at its limit
        self._woken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._failed = False
        self.counts = {DELIVERED: 0, POSTPONED: 0, DEAD: 0}

    @property
    def under_way(self) -> int:
        """Return the number of tries that are being made or recorded."""
        return len(self._tries)

    def start(self) -> None:
        """Begin; what an earlier process left due is tried at once."""
        self._running = asyncio.get_running_loop().create_task(
            self._run(), name="webhook-deliverer"
        )

    def wake(self) -> None:
        """Look again now: a row was committed."""
        self._woken.set()

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Begin no more tries, let those under way end for a while, cut the rest.

        A try that was cut leaves its row as it was: the next process makes it again.
        """
        if self._running is None:
            return
        self._running.cancel()
        await asyncio.wait([self._running])
        self._running = None
        self._held.clear()
        if self._tries:
            await asyncio.wait(self._tries.values(), timeout=grace_s)
        left = list(self._tries.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            if self._failed:  # a try could not be recorded: do not make it again in a tight circle
                self._failed = False
                await asyncio.sleep(STORE_RETRY_S)
            self._woken.clear()
            try:
                wait_s = await self._round()
            except Unavailable:
                wait_s = STORE_RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    async def _round(self) -> float:
        """Begin all tries that can begin; return how long nothing else is due."""
        self._begin_held()
        while free := self._limit - len(self._tries):
            now = self._clock.utc_now()
            rows = await self._outbox.due(
                now, free, skip=list(self._tries), busy_hosts=self._busy_hosts()
            )
            for row in rows:
                self._begin(row)
            if not rows:
                return await self._quiet_s(now)
        return LONGEST_SLEEP_S  # every try is taken; the end of one wakes us

    async def _quiet_s(self, now: datetime) -> float:
        following = await self._outbox.next_due(now)
        if following is None:
            return LONGEST_SLEEP_S
        return min(max((following - now).total_seconds(), 0.0), LONGEST_SLEEP_S)

    def _busy_hosts(self) -> list[str]:
        at_limit = [host for host, count in self._hosts.items() if count >= self._host_limit]
        return list({*at_limit, *self._held})

    def _begin_held(self) -> None:
        for host, rows in list(self._held.items()):
            while rows and self._has_room(host):
                self._begin(rows.popleft())
            if not rows:
                del self._held[host]

    def _has_room(self, host: str) -> bool:
        return len(self._tries) < self._limit and self._hosts.get(host, 0) < self._host_limit

    def _begin(self, row: OutboxRow) -> None:
        host = host_of(row.url)
        if not self._has_room(host):
            self._held.setdefault(host, deque()).append(row)
            return
        self._hosts[host] = self._hosts.get(host, 0) + 1
        task = asyncio.get_running_loop().create_task(
            self._try(row), name=f"webhook {row.webhook_id}"
        )
        self._tries[row.webhook_id] = task
        task.add_done_callback(partial(self._ended, row.webhook_id, host))

    def _ended(self, webhook_id: str, host: str, task: asyncio.Task[None]) -> None:
        del self._tries[webhook_id]
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed = True
            if not isinstance(error, Unavailable):
                context = {"message": "webhook try failed", "exception": error, "task": task}
                asyncio.get_running_loop().call_exception_handler(context)
        self._woken.set()

    async def _try(self, row: OutboxRow) -> None:
        """Try once and return when the new state is committed."""
        sent = await self._sender.send(
            webhook_id=row.webhook_id,
            url=row.url,
            body=row.body,
            outcome=row.outcome,
            headers=row.headers,
            correlation_id=row.correlation_id,
        )
        event, error = await self._settle(row, sent)
        self.counts[event] += 1
        self._observe(row, event, error)

    async def _settle(self, row: OutboxRow, sent: Sent) -> tuple[str, str]:
        """Commit what came of a try; return the new state and the error that led to it."""
        outbox, webhook_id, tries = self._outbox, row.webhook_id, row.attempts + 1
        now = self._clock.utc_now()
        if isinstance(sent, Delivered):
            await _committed(lambda done: outbox.delivered(webhook_id, now, done))
            return DELIVERED, ""
        decision = self._decide(sent, tries)
        if decision.again and isinstance(sent, Failed):
            error = sent.error
            next_at = now + timedelta(seconds=decision.wait_s)
            await _committed(lambda done: outbox.postponed(webhook_id, tries, next_at, error, done))
            return POSTPONED, error
        text = failure_text(tries, sent.error if isinstance(sent, Failed) else sent.reason)
        await _committed(lambda done: outbox.dead(webhook_id, tries, now, text, done))
        return DEAD, text

    def _decide(self, sent: Failed | Refused, tries: int) -> RetryDecision:
        if isinstance(sent, Refused):
            return RetryDecision(again=False, reason=sent.reason)
        return next_try(
            self._policy,
            tries=tries,
            status=sent.status,
            retry_after_s=sent.retry_after_s,
            chance=self._chance,
        )


async def _committed(write: Callable[[Done], None]) -> None:
    """Make a write and wait until it is durable.

    Raises:
        Unavailable: it did not go through.
    """
    settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: Unavailable | None) -> None:
        if settled.done():
            return
        if error is None:
            settled.set_result(None)
        else:
            settled.set_exception(error)

    write(done)
    await settled
