"""A receiver of webhooks: a real HTTP server on loopback that records what it got and answers by script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class HookReceiver:
    """Answers the statuses of its script one after another, then 200."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: list[Received] = []
        self.script: list[int] = []
        self.headers: dict[str, str] = {}
        self.gate: asyncio.Event | None = None  # answers wait for it when set
        self.custom: Answer | None = None
        self.at_once = 0
        self.most_at_once = 0

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        """Return an address of this receiver."""
        return f"http://{host}:{self.port}{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record a request and answer."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.raw_path, headers, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.custom is not None:
                return await self.custom(request)
            status = self.script.pop(0) if self.script else 200
            return web.Response(status=status, headers=self.headers, text="ok")
        finally:
            self.at_once -= 1


@asynccontextmanager
async def hook_receiver() -> AsyncGenerator[HookReceiver]:
    """Run a receiver on a free port."""
    receiver = HookReceiver(0)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


class ScriptedResolver(AbstractResolver):
    """Resolves names by a table; each lookup takes the next answer, the last one stays."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): list(each) for name, each in answers.items()}
        self.lookups: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """Return the next answer for a name."""
        self.lookups.append(host)
        answers = self._answers.get(host)
        if answers is None:
            raise OSError(None, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(hostname=host, host=each, port=port, family=2, proto=6, flags=0)
            for each in addresses
        ]

    async def close(self) -> None:
        """Do nothing."""
