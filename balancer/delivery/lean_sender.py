"""Sends webhooks over kept connections of our own, at a third of what an HTTP client library costs.

Every finished task has a webhook, so its sending is most of what a durable task costs. This one does
what plain webhooks need: an ASCII URL without credentials, HTTP/1.1, TLS. Whatever is odd goes to the
other sender. The promises are the same: every address is judged where it is dialled, redirects are not
followed, no proxy and no cookie is used, each try has one time limit.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from balancer.delivery.hook_connection import HookConnection
from shared.client.webhook_sender import LOOKUPS_AT_ONCE, Delivered, Failed, Refused, Sent
from shared.url_guard import UrlRules, refused_address, refused_url
from shared.webhooks import WebhookPolicy, request_headers, retry_after_s

if TYPE_CHECKING:
    from balancer.delivery.webhooks import Sender
    from shared.clock import Clock

KEPT_S = 15.0  # an idle connection is kept so long; servers commonly close theirs later
MAX_KEPT = 256  # idle connections of all hosts
LEAST_DIAL_S = 1.0  # an address that does not answer leaves time for the next one, but gets this

# What the other sender would quote in a path or query is not plain: receivers get the same either way.
_PLAIN = re.compile(
    r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?((?:[/?][!$-;=?-Z_a-z~]*)?)"
)

Lookup = Callable[[str, int], list[str]]


class Target(NamedTuple):
    """Where a webhook goes.

    Attributes:
        secure: by TLS.
        host: name or address, without brackets.
        port: of it.
        line: how the request begins.
    """

    secure: bool
    host: str
    port: int
    line: bytes

    @property
    def origin(self) -> tuple[bool, str, int]:
        """Return what a connection can be used again for."""
        return self.secure, self.host, self.port


def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of a host; blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@lru_cache(maxsize=1024)  # callers have few
def target_of(url: str, rules: UrlRules) -> Target | Refused | None:
    """Return where a URL leads, why it may not be called, or None when it is not plain."""
    refused = refused_url(url, rules)
    if refused is not None:
        return Refused(refused)
    found = _PLAIN.fullmatch(url)
    if found is None:
        return None
    scheme, host, port, path = found.groups()
    secure = scheme == "https"
    usual = 443 if secure else 80
    number = int(port) if port else usual
    shown = host if number == usual else f"{host}:{number}"
    line = f"POST {path if path.startswith('/') else '/' + path} HTTP/1.1\r\nHost: {shown}\r\n"
    return Target(secure, host.strip("[]"), number, line.encode())


class LeanSender:
    """Sends webhooks, one try a call.

    Args:
        policy: the time limit, the headers and the secrets.
        rules: where webhooks may go.
        clock: for the timestamp that is signed.
        other: takes what is not plain.
        lookup: turns names into addresses; called in a thread.
        tls: trusts the system's authorities when None.
    """

    def __init__(
        self, policy: WebhookPolicy, rules: UrlRules, *, clock: Clock, other: Sender,
        lookup: Lookup = addresses_of, tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._policy = policy
        self._rules = rules
        self._clock = clock
        self._other = other
        self._lookup = lookup
        self._tls = tls
        self._kept: dict[tuple[bool, str, int], list[tuple[float, HookConnection]]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        # Of its own: a dead name server must not block other threads' work.
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="webhook-dns")

    async def send(
        self,
        *,
        webhook_id: str,
        url: str,
        body: bytes,
        outcome: str,
        headers: Iterable[tuple[str, str]] = (),
        correlation_id: str = "",
    ) -> Sent:
        """Try once and say what came of it; never raises but for cancellation."""
        target = target_of(url, self._rules)
        if target is None:
            return await self._other.send(
                webhook_id=webhook_id, url=url, body=body, outcome=outcome, headers=tuple(headers),
                correlation_id=correlation_id,
            )  # fmt: skip
        if isinstance(target, Refused):
            return target
        all_headers = request_headers(
            self._policy, webhook_id=webhook_id, timestamp=int(self._clock.utc_now().timestamp()),
            body=body, outcome=outcome, correlation_id=correlation_id, own=headers,
        )  # fmt: skip
        return await self._try(target, _head(target, all_headers, len(body)), body)

    async def close(self) -> None:
        """Close the connections."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for kept in self._kept.values():
            for _, connection in kept:
                connection.close()
        self._kept.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _try(self, target: Target, head: bytes, body: bytes) -> Sent:
        timeout_s = self._policy.timeout_s
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        late = Failed(f"timeout of {timeout_s * 1000:.0f}ms exceeded")
        connection = self._idle(target)
        if connection is not None:
            await connection.post(head, body, deadline_s)
            if connection.status is not None or connection.heard:
                return self._answer(target, connection, deadline_s, late)
            if asyncio.get_running_loop().time() >= deadline_s:
                return late
            # Closed without a word: most likely while it was idle. So once more, by a new one.
        try:
            async with asyncio.timeout_at(deadline_s):
                dialled = await self._dial(target, deadline_s)
        except TimeoutError:
            return late
        if not isinstance(dialled, HookConnection):
            return dialled
        await dialled.post(head, body, deadline_s)
        return self._answer(target, dialled, deadline_s, late)

    def _answer(
        self, target: Target, connection: HookConnection, deadline_s: float, late: Failed
    ) -> Sent:
        self._keep(target, connection)
        status = connection.status
        if status is None:
            over = asyncio.get_running_loop().time() >= deadline_s
            return late if over else Failed("socket hang up")
        if 200 <= status < 300:
            return Delivered(status)
        wait_s = retry_after_s(connection.retry_after, now=self._clock.utc_now())
        return Failed(f"Request failed with status code {status}", status, wait_s)

    # ---- connections

    def _idle(self, target: Target) -> HookConnection | None:
        kept = self._kept.get(target.origin, [])
        while kept:
            _, connection = kept.pop()
            if connection.reusable:
                return connection
        return None

    def _keep(self, target: Target, connection: HookConnection) -> None:
        if not connection.reusable:
            return
        if sum(map(len, self._kept.values())) >= MAX_KEPT:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._kept.setdefault(target.origin, []).append((loop.time(), connection))
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEPT_S, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for long."""
        loop = asyncio.get_running_loop()
        oldest_s = loop.time() - KEPT_S
        for origin, kept in list(self._kept.items()):
            young: list[tuple[float, HookConnection]] = []
            for since_s, connection in kept:
                if since_s > oldest_s and connection.reusable:
                    young.append((since_s, connection))
                else:
                    connection.close()
            kept[:] = young
            if not young:
                del self._kept[origin]
        self._sweeping = loop.call_later(KEPT_S, self._sweep) if self._kept else None

    async def _dial(self, target: Target, deadline_s: float) -> HookConnection | Sent:
        loop = asyncio.get_running_loop()
        lookup = partial(self._lookup, target.host, target.port)
        try:
            addresses = await loop.run_in_executor(self._threads, lookup)
        except (OSError, ValueError):
            return Failed(f"getaddrinfo ENOTFOUND {target.host}")
        for address in addresses:  # one bad address condemns the host
            reason = refused_address(target.host, address, self._rules)
            if reason is not None:
                return Refused(reason)
        failed: Failed = Failed(f"getaddrinfo ENOTFOUND {target.host}")
        for place, address in enumerate(addresses):
            left_s = deadline_s - loop.time()
            share_s = max(left_s / (len(addresses) - place), min(LEAST_DIAL_S, left_s))
            try:
                async with asyncio.timeout(share_s):
                    return await self._connect(target, address)
            except TimeoutError:
                failed = Failed(f"connect ETIMEDOUT {target.host}:{target.port}")
            except ssl.SSLError:
                return Failed(
                    "TLS failed: the certificate was refused or the receiver speaks no TLS"
                )
            except OSError as exc:
                name = errno.errorcode.get(exc.errno or 0, "failed")
                failed = Failed(f"connect {name} {target.host}:{target.port}")
        return failed

    async def _connect(self, target: Target, address: str) -> HookConnection:
        loop = asyncio.get_running_loop()
        if not target.secure:
            _, plain = await loop.create_connection(HookConnection, address, target.port)
            return plain
        if self._tls is None:
            self._tls = ssl.create_default_context()
        name = target.host.rstrip(".")  # certificates have names without the dot of the root
        _, secure = await loop.create_connection(
            HookConnection, address, target.port, ssl=self._tls, server_hostname=name
        )
        return secure


def _head(target: Target, headers: list[tuple[str, str]], size: int) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    if not any(name.lower() == "accept" for name, _ in headers):
        lines.append("Accept: */*\r\n")
    return target.line + f"{''.join(lines)}Content-Length: {size}\r\n\r\n".encode(
        "utf-8", "replace"
    )
