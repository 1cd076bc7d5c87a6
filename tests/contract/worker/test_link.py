"""`/link` on a whole worker, from the balancer's side and over a real socket (contract §8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import aiohttp
import msgspec
import pytest

from shared.protocol import messages
from shared.protocol.codec import encode
from tests.contract.worker.running import AUTH_KEY, LB_KEY, RunningWorker, running_worker
from tests.fakes.waiting import wait_until
from worker import function
from worker.authoring.background import ServiceDefinition
from worker.authoring.task_function import Origin

M = TypeVar("M", bound=messages.Message)

_frames = msgspec.msgpack.Decoder(list[messages.FromWorker])


@function
async def hello(name: str = "World") -> dict[str, str]:
    """Greets someone."""
    return {"message": f"Hello {name}!"}


class Balancer:
    """The other end of a link, written by hand."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._unread: list[messages.Message] = []

    async def send(self, *sent: messages.Message) -> None:
        """Send messages in one frame."""
        await self._socket.send_bytes(encode(cast("list[messages.AnyMessage]", list(sent))))

    async def next(self, kind: type[M]) -> M:
        """Return the next message of a kind; others before it are dropped."""
        while True:
            while self._unread:
                message = self._unread.pop(0)
                if isinstance(message, kind):
                    return message
            self._unread = list(_frames.decode(await self._socket.receive_bytes(timeout=5)))


@asynccontextmanager
async def _linked(worker: RunningWorker) -> AsyncGenerator[Balancer]:
    headers = {"Authorization": LB_KEY}
    async with worker.session.ws_connect(f"{worker.url}/link", headers=headers) as socket:
        yield Balancer(socket)


HELLO = messages.Hello(1, 1, "balancer", "boot")


@pytest.mark.parametrize("key", ["", AUTH_KEY, "x", "schlüssel"])
async def test_a_wrong_key_gets_401_and_no_upgrade(key: str) -> None:
    """Only LB_AUTH_KEY opens a link."""
    async with running_worker([hello]) as worker:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await worker.session.ws_connect(f"{worker.url}/link", headers={"Authorization": key})
        assert refused.value.status == 401


async def test_a_welcome_says_what_health_says() -> None:
    """Id, group, contract, functions and slots are the same on both ways."""
    async with (
        running_worker([hello], group="g", contract=4) as worker,
        _linked(worker) as balancer,
    ):
        await balancer.send(HELLO)
        welcome = await balancer.next(messages.Welcome)
        health = await worker.health()
    assert (welcome.worker_id, welcome.group, welcome.contract) == (health["worker_id"], "g", 4)
    assert json.loads(welcome.functions) == health["functions"]
    assert welcome.report.available == 2
    assert welcome.software == f"cabrank {health['version']}"


async def test_a_dispatch_runs_and_its_end_comes_before_the_report_that_frees_its_slot() -> None:
    """The whole way of a task over the link."""
    async with running_worker([hello]) as worker, _linked(worker) as balancer:
        await balancer.send(HELLO)
        await balancer.next(messages.Welcome)
        await balancer.send(messages.Dispatch(1, "t-1", "id-1", "hello", "sync", b'{"name":"Ada"}'))
        finished = await balancer.next(messages.Finished)
        report = await balancer.next(messages.Report)
    assert (finished.token, finished.status) == ("t-1", "succeeded")
    assert finished.result == b'{"message":"Hello Ada!"}'
    assert (report.seen, report.available) == (1, 2)


async def test_maintenance_over_http_reaches_the_link() -> None:
    """`/off` is told to every balancer."""
    async with running_worker([hello]) as worker, _linked(worker) as balancer:
        await balancer.send(HELLO)
        await balancer.next(messages.Welcome)
        await worker.ask("POST", "/off")
        report = await balancer.next(messages.Report)
        assert (report.maintenance, report.available) == (True, 0)


async def test_a_worker_that_stops_says_goodbye() -> None:
    """And what still ran is not told as a result."""
    gate = asyncio.Event()

    @function
    async def gated() -> None:
        await gate.wait()

    async with running_worker([gated]) as worker:
        async with _linked(worker) as balancer:
            await balancer.send(HELLO)
            await balancer.next(messages.Welcome)
            await balancer.send(messages.Dispatch(1, "t-1", "id-1", "gated", "sync", b"{}"))
            await wait_until(lambda: worker.used() == 1, "the task runs")
            stopping = asyncio.create_task(worker.worker.stop())
            goodbye = await balancer.next(messages.Goodbye)
            assert goodbye.code == "shutting_down"
        await stopping
        assert worker.used() == 0


@dataclass
class Moody:
    """A service that is up when a test says so."""

    up: bool = False

    async def start(self) -> None:
        """Start at once."""

    async def stop(self) -> None:
        """Stop at once."""

    async def status(self) -> object:
        """Tell what the test says."""
        return {"mood": "good"} if self.up else False


async def test_while_a_service_is_down_there_is_no_slot() -> None:
    """Neither for balancers nor for direct callers; `/health` shows which one it is."""
    moody = Moody()
    service = ServiceDefinition(
        name="moody", description="", make=lambda: moody, origin=Origin(__file__, 1)
    )
    async with running_worker([hello], [service]) as worker, _linked(worker) as balancer:
        await balancer.send(HELLO)
        assert (await balancer.next(messages.Welcome)).report.available == 0

        async def is_down() -> bool:
            return (await worker.health())["services"] == [
                {"name": "moody", "status": "down", "state": False}
            ]

        await wait_until(is_down, "the service is shown as down")
        call = asyncio.create_task(worker.task({"function": "hello"}))
        await wait_until(lambda: worker.worker.engine.slots().queue == 1, "the call waits")
        moody.up = True
        assert (await call).status == 200
        services = (await worker.health())["services"]
        assert services == [{"name": "moody", "status": "ready", "state": {"mood": "good"}}]
        assert (await worker.health())["slots"] == {
            "used": 0, "available": 2, "limit": 2, "queue": 0,
        }  # fmt: skip
