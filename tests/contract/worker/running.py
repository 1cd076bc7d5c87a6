"""A whole worker in the test's own process, asked over real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import aiohttp
import structlog
import yarl

from shared.log import setup_logging
from shared.system import SystemClock
from worker import Function
from worker.app import Worker
from worker.authoring.background import ServiceDefinition
from worker.authoring.discovery import Discovered, discover
from worker.authoring.registry import Registry
from worker.config import WorkerSettings

AUTH_KEY = "wk"
LB_KEY = "lbk"
AS_CLIENT = {"Authorization": AUTH_KEY}
HOSTED = Path(__file__).parent / "hosted" / "functions"

JsonObject = dict[str, object]
Body = Mapping[str, object] | bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> JsonObject:
        """Return the body as a JSON object."""
        return cast("JsonObject", json.loads(self.body))

    @property
    def code(self) -> object:
        """Return the code of a failure."""
        return self.json.get("code")


class RunningWorker:
    """A worker and a client for it."""

    def __init__(self, worker: Worker, session: aiohttp.ClientSession) -> None:
        self.worker = worker
        self.session = session
        self.url = worker.url

    async def logs(self, query: str = "") -> list[str]:
        """Return the lines of the log."""
        return cast("list[str]", (await self.ask("GET", f"/logs{query}")).json["logs"])

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = AS_CLIENT,
        data: bytes | None = None,
    ) -> Reply:
        """Send a request and read its answer."""
        asked = self.session.request(method, f"{self.url}{path}", headers=headers, data=data)
        async with asked as response:
            return Reply(response.status, response.headers, await response.read())

    async def task(self, body: Body, headers: Mapping[str, str] = AS_CLIENT) -> Reply:
        """Post a task; a mapping gets `contract: 1` unless it says otherwise."""
        data = body if isinstance(body, bytes) else json.dumps({"contract": 1, **body}).encode()
        return await self.ask("POST", "/task", headers=headers, data=data)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection for bytes that no client library would send."""
        url = yarl.URL(self.url)
        return await asyncio.open_connection(url.host, url.port)

    async def health(self) -> JsonObject:
        """Return the full view."""
        return (await self.ask("GET", "/health")).json

    def used(self) -> int:
        """Return the slots that are held."""
        return self.worker.engine.slots().used


@asynccontextmanager
async def running_worker(
    functions: Iterable[Function[..., object]] | None = None,
    services: Iterable[ServiceDefinition] = (),
    /,
    **settings: object,
) -> AsyncGenerator[RunningWorker]:
    """Run a worker while the context lasts.

    Args:
        functions: what it hosts; None is the folder `hosted/`.
        services: what it runs beside them.
        settings: over the defaults, which are small and on loopback.
    """
    values = {"port": 0, "auth_key": AUTH_KEY, "lb_auth_key": LB_KEY, "slots": 2, **settings}
    found = discover(HOSTED) if functions is None else Discovered(functions=Registry(functions))
    found.services.update({each.name: each for each in services})
    clock = SystemClock()
    handlers, level = list(logging.root.handlers), logging.root.level
    ring = setup_logging(clock, stream=io.StringIO(), as_json=True, level="debug")
    worker = Worker(_settings(values), found, ring, clock)
    await worker.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield RunningWorker(worker, session)
    finally:
        await worker.stop()
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


def _settings(values: dict[str, object]) -> WorkerSettings:
    # No .env of whoever runs the tests; the values are checked by pydantic itself.
    return WorkerSettings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]
