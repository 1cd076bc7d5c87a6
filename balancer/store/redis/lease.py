"""The lease on a namespace: one balancer at a time has it, until several can share a store (DESIGN §5).

It is kept on the server's clock with a time to live, so that a holder that died locks nobody out for
longer than that. The holder trusts it only for as long after it *asked* for it: a process that was
suspended finds out by its own clock, before it writes anything.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from balancer.store.redis.wire import Call, Script
from shared.errors import ConfigError, Unavailable
from shared.log import Log

if TYPE_CHECKING:
    from balancer.store.redis.wire import Wire
    from shared.clock import Clock

TTL_S = 5.0
RENEW_S = 1.0
RETRY_S = 0.2  # while it is not had: work goes on soon after the server's return
POLL_S = 0.1
SHARED = "shared several balancers"
LOST = "Store is unavailable: this balancer has lost its lease on it"

_LEASE = Script("lease")
_log = Log("store")


class Lease:
    """A lease that is held from `acquire` to `release`.

    Args:
        wire: to the server.
        key: of the lease.
        holder: id of this process start; "" for the lease that balancers have together which share.
        clock: for how long it is trusted.
        shown: the URL as it may be shown.
        ttl_s: how long it outlives its holder.
    """

    def __init__(
        self, wire: Wire, key: str, holder: str, *, clock: Clock, shown: str, ttl_s: float = TTL_S
    ) -> None:
        self._wire = wire
        self._key = key
        self._alone = bool(holder)
        self._value = f"{holder} {socket.gethostname()}:{os.getpid()}" if holder else SHARED
        self._clock = clock
        self._shown = shown
        self._ttl_s = ttl_s
        self._until_s = 0.0
        self._current = False
        self._renewing: asyncio.Task[None] | None = None

    @property
    def refusal(self) -> str | None:
        """Return why nothing may be written now, or None."""
        return None if self._clock.monotonic() < self._until_s else LOST

    @property
    def current(self) -> bool:
        """Tell whether it could be renewed the last time."""
        return self._current and self.refusal is None

    async def acquire(self) -> None:
        """Take it, or say who has it; one whose holder died is waited for, one that is renewed is not.

        Raises:
            ConfigError: another balancer has it and keeps it.
            Unavailable: the server does not answer.
        """
        give_up_s = self._clock.monotonic() + self._ttl_s + RENEW_S
        left_ms: object = None
        while not (await self._take() or (not self._alone and await self._extend())):
            before_ms, left_ms = left_ms, await self._wire.command("PTTL", self._key)
            renewed = (
                isinstance(before_ms, int) and isinstance(left_ms, int) and left_ms > before_ms
            )
            if renewed or self._clock.monotonic() > give_up_s:
                raise ConfigError(await self._taken())
            await asyncio.sleep(POLL_S)
        self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="store-lease")

    async def release(self) -> None:
        """Let go, so that another balancer need not wait."""
        if self._renewing is None:
            return
        self._renewing.cancel()
        await asyncio.wait([self._renewing])
        self._renewing = None
        self._until_s = 0.0
        if not self._alone:
            return  # the others have it too; after the last one it ends by itself
        try:
            await self._wire.run([Call(_LEASE, self._key, [self._value, 0])])
        except Unavailable as exc:
            _log.info(f"The lease on {self._shown} was not given back: {exc}")  # it ends by itself

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S if self._current else RETRY_S)
            had = self._current
            try:
                self._current = await self._extend() or await self._take()
                cause = "another balancer has it"
            except Unavailable as exc:
                self._current, cause = False, str(exc)
            if had and not self._current:
                _log.error(f"The lease on {self._shown} is lost: {cause}")

    async def _extend(self) -> bool:
        asked_s = self._clock.monotonic()
        call = Call(_LEASE, self._key, [self._value, int(self._ttl_s * 1000)])
        self._current = self._had(asked_s, await self._wire.run([call]) == [1])
        return self._current

    async def _take(self) -> bool:
        asked_s = self._clock.monotonic()
        ttl_ms = int(self._ttl_s * 1000)
        answer = await self._wire.command("SET", self._key, self._value, "NX", "PX", ttl_ms)
        self._current = self._had(asked_s, bool(answer))
        return self._current

    def _had(self, asked_s: float, had: bool) -> bool:
        self._until_s = asked_s + self._ttl_s if had else 0.0
        return had

    async def _taken(self) -> str:
        answer = await self._wire.command("GET", self._key)
        holder = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else ""
        name = holder.partition(" ")[2]
        who = (
            f"by {name}"
            if holder == SHARED
            else f"by process {name}"
            if name
            else "by another process"
        )
        return (
            f"Store {self._shown} is in use {who}: a store has one balancer."
            " Stop that one, or give this one another namespace (?namespace=…)"
        )
