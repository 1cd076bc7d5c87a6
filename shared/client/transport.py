"""The client's HTTP: one aiohttp session, errors as the one tree, and retries where they are safe.

This module is loaded with the first request, so that importing `cabrank` for its authoring API does
not cost the import of aiohttp.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from shared.client.answers import bad_answer, error_of_answer
from shared.client.ask import Answer
from shared.client.repeat import repeat_wait_s
from shared.errors import CabrankError, CallerError, Failure, error_of
from shared.system import system_chance

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from shared.client.ask import Ask

CONNECT_TIMEOUT_S = 10.0


class Transport:
    """Carries requests to one server; made on the loop that uses it, closed by its owner."""

    def __init__(self, url: str, headers: Mapping[str, str], retries: int) -> None:
        self._url = url
        self._retries = retries
        self._chance = system_chance()
        # No bound on connections: tasks wait in the balancer, by priority, and not here, by chance.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def request(self, ask: Ask) -> Answer:
        """Return the answer to a request.

        Raises:
            CabrankError: the error that the server told, or why there is no answer.
        """
        async with self.opened(ask) as response, self._failures_told(ask):
            return Answer(response.status, response.headers, await response.read())

    @asynccontextmanager
    async def opened(self, ask: Ask) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Give the response once its status is known to be good; close it afterwards.

        Raises:
            CabrankError: as `request`.
        """
        response = await self._good_response(ask)
        try:
            yield response
        finally:
            # Ends the connection unless the whole answer was read: that is how a reader leaves.
            response.close()

    async def pieces(
        self, ask: Ask, response: aiohttp.ClientResponse
    ) -> AsyncGenerator[bytes, None]:
        """Give the body of a response as it comes."""
        while True:
            async with self._failures_told(ask), asyncio.timeout(ask.silence_s):
                piece = await response.content.readany()
            if not piece:
                return
            yield piece

    async def _good_response(self, ask: Ask) -> aiohttp.ClientResponse:
        loop = asyncio.get_running_loop()
        end_s = None if ask.limit_s is None else loop.time() + ask.limit_s
        failures = 0
        while True:
            left_s = None if end_s is None else end_s - loop.time()
            try:
                return await self._send(ask, left_s)
            except CabrankError as error:
                failures += 1
                wait_s = repeat_wait_s(
                    ask,
                    error,
                    failures=failures,
                    retries=self._retries,
                    left_s=None if end_s is None else end_s - loop.time(),
                    chance=self._chance,
                )
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    async def _send(self, ask: Ask, limit_s: float | None) -> aiohttp.ClientResponse:
        if self._session.closed:
            raise CallerError("The client is closed")
        # A stream begins with its first piece, within the limit, and ends when it ends.
        total_s = limit_s if ask.silence_s is None else None
        headers = {"Content-Type": "application/json"} if ask.body is not None else {}
        async with self._failures_told(ask), asyncio.timeout(limit_s):
            response = await self._session.request(
                ask.method,
                self._url + ask.path,
                data=ask.body,
                headers={**headers, **ask.headers},
                timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,  # a redirect would carry the key to somebody else
            )
            if response.status < 300:
                return response
            async with response:
                body = await response.read()
        if response.status < 400:
            raise bad_answer(
                f"a redirect (HTTP {response.status}) to {response.headers.get('Location')}"
            )
        raise error_of_answer(response.status, response.headers, body)

    @asynccontextmanager
    async def _failures_told(self, ask: Ask) -> AsyncGenerator[None]:
        """Turn what aiohttp raises into errors of the tree."""
        try:
            yield
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            text = f"{self._url} could not be reached: {_why(exc)}"
            raise error_of(Failure("unreachable", text)) from exc
        except TimeoutError as exc:
            raise error_of(Failure("timeout", f"No answer from {self._url} in time")) from exc
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as exc:
            text = f"The connection to {self._url} broke before the answer was complete"
            raise error_of(Failure("connection_lost", text)) from exc
        except aiohttp.ClientError as exc:
            raise bad_answer(str(exc)) from exc


def _why(exc: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> str:
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else str(exc.os_error)
