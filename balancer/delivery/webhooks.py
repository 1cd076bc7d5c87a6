"""Delivers the outbox: webhooks whose rows were committed together with the end of their task.

The store is the only memory that counts. A row comes from the store as soon as it is committed
(`take`), or is read from it: what an earlier process left, what is due for another try, what did not
fit into the memory. It is tried, and its new state is committed before it can be read again; whatever
happens in between, a restart included, the row is tried again under the same `webhook-id` (at least
once). Tries are limited overall and per host, and a host at its limit does not stand in the way of
others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from balancer.delivery.host_queues import HostQueues
from shared.client.webhook_sender import Delivered, Failed, Refused, Sent
from shared.errors import Unavailable
from shared.retry import RetryDecision
from shared.webhooks import WebhookPolicy, failure_text, next_try

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.delivery.host_queues import Host
    from balancer.store.ports import OutboxRow, OutboxStore
    from shared.clock import Chance, Clock

MAX_TRIES_AT_ONCE = 64  # sockets and tasks; receivers answer in well under a second
MAX_TRIES_A_HOST = 8  # enough to be quick, too few to knock a receiver over
MAX_WAITING = 4096  # rows in memory; the others wait in the store
MAX_WAITING_A_HOST = 512  # a receiver that hangs must not have all of them
MAX_WAITING_BYTES = 32 * 1024**2  # of bodies; what is being tried comes on top
# As a host has an eighth of the tries: those that hang must not have all of the memory.
MAX_WAITING_BYTES_A_HOST = MAX_WAITING_BYTES // 8
MAX_SETTLING = 4096  # new states on their way into the store; past it no try begins
PAGE = 256  # rows read at once
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
        self._queues = HostQueues(host_limit)
        self._known: set[str] = set()  # webhook ids: waiting, tried or settling
        self._settling = 0
        self._gone: set[str] | None = None  # while the store is read: settled meanwhile
        self._trying: set[asyncio.Task[None]] = set()
        # Rows may be due in the store that are not known here. Until it has been read they all come
        # from there, in their order: a new one must not overtake them for ever.
        self._behind = True
        self._full = False  # rows were left in the store because of their bodies
        self._woken = asyncio.Event()
        self._ended = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._failed = False
        self.counts = {DELIVERED: 0, POSTPONED: 0, DEAD: 0}

    @property
    def under_way(self) -> int:
        """Return the number of tries that are being made or recorded."""
        return self._queues.trying + self._settling

    @property
    def waiting(self) -> int:
        """Return the number of webhooks in memory that wait for a try."""
        return self._queues.waiting

    @property
    def caught_up(self) -> bool:
        """Tell whether the store holds nothing due that is not here: new rows are taken at once."""
        return not self._behind

    def start(self) -> None:
        """Begin; what an earlier process left due is tried at once."""
        self._running = asyncio.get_running_loop().create_task(
            self._run(), name="webhook-deliverer"
        )

    def take(self, row: OutboxRow) -> None:
        """Deliver a row that was committed just now; past the bounds it is read from the store later."""
        queues = self._queues
        if (
            self._behind
            or queues.waiting >= MAX_WAITING
            or queues.waiting_for(row.host) >= MAX_WAITING_A_HOST
            or not self._fits(row)
            or not self._fits_host(row)
        ):
            self._behind = True
            self._woken.set()
        else:
            self._add(row)

    def wake(self) -> None:
        """Look into the store now."""
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
        self._behind = True  # what is committed from now on is for the next process
        self._known.difference_update(row.webhook_id for row in self._queues.clear())
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self.under_way:
                    self._ended.clear()
                    await self._ended.wait()
        left = list(self._trying)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # ---- rows from the store

    async def _run(self) -> None:
        while True:
            if self._failed:  # a try could not be recorded: do not make it again in a tight circle
                self._failed = False
                await asyncio.sleep(STORE_RETRY_S)
            self._woken.clear()
            try:
                wait_s = await self._round()
            except Unavailable:
                self._behind = True
                wait_s = STORE_RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    async def _round(self) -> float:
        """Take every row that is due and has room; return how long nothing else is due."""
        self._full = False
        while not self._full and (room := min(PAGE, MAX_WAITING - self._queues.waiting)):
            now = self._clock.utc_now()
            busy = self._queues.waiting_hosts()
            rows, gone = await self._read(now, room, busy)
            self._full = not self._add_page([row for row in rows if row.webhook_id not in gone])
            if not rows and set(busy).issubset(self._queues.waiting_hosts()):
                self._behind = bool(busy) or self._woken.is_set()
                return await self._quiet_s(now)
        self._behind = True
        return LONGEST_SLEEP_S  # there is no room; `_next` wakes us when there is

    def _add_page(self, rows: Sequence[OutboxRow]) -> bool:
        """Take the rows of a page that have room; tell whether all bodies together had it."""
        for row in rows:
            if not self._fits(row):
                return False
            if self._fits_host(row):  # else its host is busy now, and the next page is of others
                self._add(row)
        return True

    def _fits(self, row: OutboxRow) -> bool:
        """Tell whether there is room for a body; one that is larger than all of it waits alone."""
        waiting = self._queues.waiting_bytes
        return not waiting or waiting + len(row.body) <= MAX_WAITING_BYTES

    def _fits_host(self, row: OutboxRow) -> bool:
        waiting = self._queues.bytes_for(row.host)
        return not waiting or waiting + len(row.body) <= MAX_WAITING_BYTES_A_HOST

    async def _read(
        self, now: datetime, room: int, busy: list[str]
    ) -> tuple[Sequence[OutboxRow], set[str]]:
        """Return rows, and the ids of those that were settled meanwhile: the rows may be older."""
        gone = self._gone = set[str]()
        try:
            return await self._outbox.due(now, room, skip=list(self._known), busy_hosts=busy), gone
        finally:
            self._gone = None

    async def _quiet_s(self, now: datetime) -> float:
        following = await self._outbox.next_due(now)
        if following is None:
            return LONGEST_SLEEP_S
        return min(max((following - now).total_seconds(), 0.0), LONGEST_SLEEP_S)

    # ---- tries

    def _add(self, row: OutboxRow) -> None:
        if row.webhook_id not in self._known:
            self._known.add(row.webhook_id)
            self._queues.add(row)
            self._begin()

    def _begin(self) -> None:
        """Begin the tries that can begin."""
        while len(self._trying) < self._limit and (following := self._next()) is not None:
            task = asyncio.get_running_loop().create_task(self._tries(*following))
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)

    def _next(self) -> tuple[Host, OutboxRow] | None:
        following = self._queues.begin() if self._settling < MAX_SETTLING else None
        if following is not None and self._behind and self._has_room_again(following[0]):
            self._woken.set()
        return following

    def _has_room_again(self, host: Host) -> bool:
        """Tell whether the store should be read after a row of a host has left the memory."""
        if self._full:  # not at every body that leaves: the pages that are cut cost a read each
            return self._queues.waiting_bytes <= MAX_WAITING_BYTES // 2
        return not host.rows

    async def _tries(self, host: Host, row: OutboxRow) -> None:
        """Try a row, and then others as long as some can begin: one task for many tries is cheaper."""
        following: tuple[Host, OutboxRow] | None = (host, row)
        while following is not None:
            host, row = following
            try:
                sent = await self._sender.send(
                    webhook_id=row.webhook_id, url=row.url, body=row.body, outcome=row.outcome,
                    headers=row.headers, correlation_id=row.correlation_id,
                )  # fmt: skip
                self._settle(row, sent)
                self._settling += 1
            except (
                Exception
            ) as exc:  # a bug of ours: the other webhooks go on, and this one is tried again
                self._forget(row)
                self._fell_behind()
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "webhook try failed", "exception": exc}
                )
            finally:
                self._queues.ended(host)
                self._ended.set()
            following = self._next()
        # Now, not when the loop calls back: a row that comes in between must find the place free.
        self._trying.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _settle(self, row: OutboxRow, sent: Sent) -> None:
        """Write down what came of a try."""
        outbox, webhook_id, tries = self._outbox, row.webhook_id, row.attempts + 1
        now = self._clock.utc_now()
        if isinstance(sent, Delivered):
            outbox.delivered(webhook_id, now, partial(self._settled, row, DELIVERED, ""))
            return
        decision = self._decide(sent, tries)
        if decision.again and isinstance(sent, Failed):
            error = sent.error
            next_at = now + timedelta(seconds=decision.wait_s)
            done = partial(self._settled, row, POSTPONED, error)
            outbox.postponed(webhook_id, tries, next_at, error, done)
            return
        text = failure_text(tries, sent.error if isinstance(sent, Failed) else sent.reason)
        outbox.dead(webhook_id, tries, now, text, partial(self._settled, row, DEAD, text))

    def _settled(self, row: OutboxRow, event: str, error: str, out: Unavailable | None) -> None:
        """Take note that the new state is committed, or could not be."""
        self._settling -= 1
        self._forget(row)
        if out is not None:
            self._fell_behind()
        else:
            self.counts[event] += 1
            if event == POSTPONED:
                self._woken.set()  # it may be due before all others
        self._begin()
        self._ended.set()
        if out is None:
            self._observe(row, event, error)  # last: it is not ours, and may break

    def _forget(self, row: OutboxRow) -> None:
        self._known.discard(row.webhook_id)
        if self._gone is not None:
            self._gone.add(row.webhook_id)

    def _fell_behind(self) -> None:
        """Leave everything to the store, and look into it after a while."""
        self._failed = self._behind = True
        self._woken.set()
        self._known.difference_update(row.webhook_id for row in self._queues.clear())

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
