"""One try of one webhook over HTTP, for the balancer's outbox and for direct tasks of a worker.

Every address is judged where it is resolved, inside the connection, so the address that was checked is
the one that is dialled: a name that changes its answer between check and call gains nothing. Redirects
are not followed, proxies of the environment are not used, no cookie is kept.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.url_guard import UrlRules, refused_address, refused_literal, refused_url
from shared.webhooks import WebhookPolicy, request_headers, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from shared.clock import Clock

MAX_ANSWER_BYTES = 64 * 1024  # read so that the connection can be used again; nobody looks at it
MAX_CONNECTIONS = 256  # more than any deliverer sends at once
LOOKUPS_AT_ONCE = (
    16  # in threads of their own: a dead name server must not block other threads' work
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver answered 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The guard or the URL itself forbids the call; another try makes no sense."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The try failed.

    Attributes:
        error: why, for people.
        status: of the answer; None when there was none.
        retry_after_s: what the receiver asked for.
    """

    error: str
    status: int | None = None
    retry_after_s: float | None = None


Sent = Delivered | Refused | Failed


class WebhookSender:
    """Sends webhooks, one try a call.

    Args:
        policy: the time limit, the headers and the secrets.
        rules: where webhooks may go.
        clock: for the timestamp that is signed.
        resolver: turns names into addresses; the system's when None.
    """

    def __init__(
        self,
        policy: WebhookPolicy,
        rules: UrlRules,
        *,
        clock: Clock,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._policy = policy
        self._rules = rules
        self._clock = clock
        self._resolver = _Guard(resolver or _SystemResolver(), rules)
        self._session: aiohttp.ClientSession | None = None

    async def refusal(self, url: str) -> str | None:
        """Tell why a URL may not be called; None when it may, or when its name does not resolve now."""
        refused = refused_url(url, self._rules)
        if refused is not None or self._rules.allow_private:
            return refused
        try:
            async with asyncio.timeout(self._policy.timeout_s):
                await self._resolver.resolve(URL(url).host or "", 0, socket.AF_UNSPEC)
        except RefusedAddress as exc:
            return str(exc)
        except (OSError, ValueError):
            return None  # it passes the guard again at each try
        return None

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
        """Try once and say what came of it; never raises but for cancellation.

        Args:
            webhook_id: the same for every try.
            url: where to.
            body: the exact bytes.
            outcome: succeeded, failed, cancelled or timed_out.
            headers: `webhook.headers` of the task.
            correlation_id: of the task.
        """
        refused = refused_url(url, self._rules)
        if refused is not None:
            return Refused(refused)
        now = self._clock.utc_now()
        all_headers = request_headers(
            self._policy,
            webhook_id=webhook_id,
            timestamp=int(now.timestamp()),
            body=body,
            outcome=outcome,
            correlation_id=correlation_id,
            own=headers,
        )
        answer: Sent = Failed(f"timeout of {self._policy.timeout_s * 1000:.0f}ms exceeded")
        try:
            async with (
                asyncio.timeout(self._policy.timeout_s),
                self._post(url, all_headers, body) as response,
            ):
                answer = self._judge(response)
                await _drain(response)
        except TimeoutError:
            pass  # in time for the status, it was an answer all the same
        except RefusedAddress as exc:
            return Refused(str(exc))
        except (aiohttp.InvalidURL, ValueError):
            return Refused("URL is malformed")
        except (aiohttp.ClientError, OSError) as exc:
            return Failed(_network_error(exc))
        return answer

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._resolver.close()

    def _post(
        self, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        # As it was given: a presigned URL must not be quoted anew.
        target = URL(url, encoded=url.isascii())
        reason = refused_literal(target.host or "", self._rules)
        if reason is not None:  # the client does not resolve what looks like an address
            raise RefusedAddress(reason)
        if any(name.lower() == "authorization" for name, _ in headers):
            target = target.with_user(None)  # the header wins over credentials in the URL
        return self._open_session().post(target, data=body, headers=headers, allow_redirects=False)

    def _judge(self, response: aiohttp.ClientResponse) -> Sent:
        if 200 <= response.status < 300:
            return Delivered(response.status)
        asked = response.headers.get("Retry-After")
        return Failed(
            f"Request failed with status code {response.status}",
            response.status,
            retry_after_s(asked, now=self._clock.utc_now()),
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver, use_dns_cache=False, limit=MAX_CONNECTIONS
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # the whole try is limited by us
                skip_auto_headers=("Accept-Encoding",),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class RefusedAddress(Exception):
    """A name leads to an address that may not be dialled."""


class _Guard(AbstractResolver):
    """Resolves by another resolver and lets nothing pass that the rules refuse."""

    def __init__(self, inner: AbstractResolver, rules: UrlRules) -> None:
        self._inner = inner
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host; one bad address condemns it."""
        found = await self._inner.resolve(host, port, family)
        for each in found:
            reason = refused_address(host, each["host"], self._rules)
            if reason is not None:
                raise RefusedAddress(reason)
        return found

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


class _SystemResolver(AbstractResolver):
    """`getaddrinfo` in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="webhook-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        lookup = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, lookup)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Let go of the threads; a lookup that hangs keeps its own until it ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a short answer to its end, so that its connection can be used again; drop a long one.

    The status was the answer: a transfer that breaks off here changes nothing.
    """
    left = MAX_ANSWER_BYTES
    try:
        while left > 0:
            piece = await response.content.read(left)
            if not piece:
                return
            left -= len(piece)
    except (aiohttp.ClientError, OSError):
        pass
    response.close()


def _network_error(exc: BaseException) -> str:
    """Return a network failure as Andera's callers know it from Node."""
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return f"getaddrinfo ENOTFOUND {exc.host}"
    if isinstance(exc, aiohttp.ClientSSLError):
        return "TLS failed: the certificate was refused or the receiver speaks no TLS"
    if isinstance(exc, aiohttp.ClientConnectorError):
        name = errno.errorcode.get(exc.os_error.errno or 0, "failed")
        return f"connect {name} {exc.host}:{exc.port}"
    if isinstance(exc, aiohttp.ServerDisconnectedError | ConnectionError):
        return "socket hang up"
    return f"Request failed: {type(exc).__name__}"
