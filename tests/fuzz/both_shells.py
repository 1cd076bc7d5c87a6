"""Both shells of a worker over one engine, fed with bytes in memory: what each answers to the same ones.

No sockets, so that thousands of inputs fit into seconds, and so that it is certain when nothing more
will come: the loop has nothing left to run.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web

from shared.client.webhook_sender import WebhookSender
from shared.edge.codec import Keys
from shared.edge.fast_lane import FastLane
from shared.edge.http_shell import SERVER, EdgeRunner, edge_application
from shared.ids import SequentialIds
from shared.log import TaskLog, setup_logging
from shared.system import SystemClock, system_chance
from shared.url_guard import UrlRules
from shared.webhooks import WebhookPolicy
from tests.fakes.manual_clock import ManualClock
from tests.fakes.raw_http import RawAnswer, split_answers
from tests.fakes.task_functions import echo, fail, hello, nothing, stream, stream_fail
from tests.fuzz.raw_requests import BODY_LIMIT
from worker.api.fast import FastDesk
from worker.api.task import TaskRoute
from worker.authoring.registry import Registry
from worker.engine import EngineSettings, WorkerEngine
from worker.modes.webhook import WebhookMode
from worker.processes import ProcessPool
from worker.runner import Runner

AUTH_KEY, LB_KEY = "auth-key-of-the-fuzz", "lb-key-of-the-fuzz"
_IDS = re.compile(rb"(lane|other|malformed|token)-[0-9a-f]+")
_SAME_HEADERS = ("content-type", "connection", "server", "retry-after", "www-authenticate", "allow")


class Pipe(asyncio.Transport):
    """A transport whose wire is memory.

    Attributes:
        written: what the server has sent, per protocol: the first one, then its successor.
        received: what each of them was given.
        closed: the server has closed the connection.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.written = [b""]
        self.received = [b""]
        self.closed = False
        self._paused = False
        self._protocol = protocol
        self._protocol.connection_made(self)

    def feed(self, data: bytes) -> bool:
        """Deliver bytes as one segment; False while the server does not read."""
        if self._paused and not self.closed:
            return False
        if not self.closed:
            self.received[-1] += data
            self._protocol.data_received(data)
        return True

    def leave(self) -> None:
        """Let the client go."""
        if not self.closed:
            self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        if not self.closed:
            self.written[-1] += bytes(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send."""
        for data in list_of_data:
            self.write(data)

    def close(self) -> None:
        """Close."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """Close."""
        self.close()

    def is_closing(self) -> bool:
        """Tell whether it is closed."""
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol go on; what comes and goes from now on is noted apart."""
        self._protocol = cast("asyncio.Protocol", protocol)
        self.written.append(b"")
        self.received.append(b"")

    def get_write_buffer_size(self) -> int:
        """Return 0: the client reads everything."""
        return 0

    def pause_reading(self) -> None:
        """Deliver nothing."""
        self._paused = True

    def resume_reading(self) -> None:
        """Deliver again."""
        self._paused = False


class NoHooks(WebhookSender):
    """A sender that may send nothing anywhere, so that no input of a fuzz leaves the machine."""

    async def refusal(self, url: str) -> str | None:
        """Refuse."""
        return "not in a test"


class Shells:
    """Both shells.

    Attributes:
        lane, other: make the protocols.
    """

    def __init__(self, lane: FastLane, other: web.Server, clock: ManualClock) -> None:
        self.lane = lane
        self.other = other
        self._clock = clock

    async def told_by_lane(self, segments: Iterable[bytes]) -> Pipe:
        """Send segments to the lane; return the connection when nothing more will come."""
        pipe = Pipe(self.lane())
        await self._send(pipe, segments)
        for _ in range(3):  # until it lets go of what is incomplete
            self._clock.advance(1.0)
            self.lane.sweep()
        await settled()
        return pipe

    async def told_by_other(self, segments: Iterable[bytes]) -> Pipe:
        """Send segments to aiohttp."""
        pipe = Pipe(self.other())
        await self._send(pipe, segments)
        return pipe

    async def _send(self, pipe: Pipe, segments: Iterable[bytes]) -> None:
        for segment in segments:
            if not pipe.feed(segment):
                await settled()
                if not pipe.feed(segment):
                    break  # it waits for what will not come
        await settled()

    async def forget(self, *pipes: Pipe) -> None:
        """Let the callers leave."""
        for pipe in pipes:
            pipe.leave()
        await settled()


async def settled() -> None:
    """Wait until the loop has nothing to run but timers far away."""
    ready = cast("list[object]", getattr(asyncio.get_running_loop(), "_ready"))  # noqa: B009
    while True:
        await asyncio.sleep(0)
        if not ready:
            return


@asynccontextmanager
async def both_shells() -> AsyncGenerator[Shells]:
    """Run both while the context lasts."""
    clock, chance, manual = SystemClock(), system_chance(), ManualClock()
    ring = setup_logging(clock, stream=io.StringIO(), as_json=True, level="error")
    registry = Registry((hello, echo, fail, nothing, stream, stream_fail))
    runner = Runner(clock, ProcessPool(clock, []))
    engine = WorkerEngine(
        EngineSettings(limit=4), registry, runner, clock, SequentialIds("token"), chance
    )
    policy = WebhookPolicy()
    hooks = WebhookMode(
        engine,
        NoHooks(policy, UrlRules(), clock=clock),
        policy,
        clock=clock,
        chance=chance,
        limit=4,
    )
    keys, log = Keys(AUTH_KEY, LB_KEY), TaskLog(ring)
    route = TaskRoute(
        engine, hooks, keys, SequentialIds("other"), log, contract=1, body_limit=BODY_LIMIT
    )
    app = edge_application(SequentialIds("other"))
    app.router.add_post("/task", route.handle)
    edge = EdgeRunner(app, SequentialIds("malformed"), shutdown_timeout_s=0.0)
    await edge.setup()
    assert edge.server is not None
    desk = FastDesk(engine, hooks, keys, SequentialIds("lane"), log, contract=1)
    lane = FastLane(
        desk, edge.server, SequentialIds("lane"), manual, body_limit=BODY_LIMIT, software=SERVER
    )
    engine.start()
    try:
        yield Shells(lane, edge.server, manual)
    finally:
        await lane.close(0.0)
        await engine.close()
        await hooks.close()
        await edge.cleanup()


def comparable(raw: bytes) -> list[tuple[int, bytes, tuple[str | None, ...], str]]:
    """Return what must be the same of the answers in both shells: all but ids and dates."""
    return [
        (
            answer.status,
            _IDS.sub(b"ID", _as_json(answer)),
            tuple(answer.headers.get(name) for name in _SAME_HEADERS),
            _correlation(answer),
        )
        for answer in split_answers(raw)
    ]


def _as_json(answer: RawAnswer) -> bytes:
    """Return the body, as JSON when it is msgpack: there the length of an id stands before it."""
    packed = answer.headers.get("content-type") == "application/msgpack"
    return json.dumps(answer.content).encode() if packed else answer.body


def _correlation(answer: RawAnswer) -> str:
    given = answer.headers.get("x-correlation-id", "")
    return _IDS.sub(b"ID", given.encode("latin-1")).decode("latin-1")
