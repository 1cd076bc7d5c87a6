"""The legacy slot socket on `/` (contract §7), over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.contract.worker.running import LB_KEY, JsonObject, RunningWorker, running_worker
from worker import function


@function
async def hello() -> str:
    """Greets nobody."""
    return "hello"


@asynccontextmanager
async def _socket(
    worker: RunningWorker, *protocols: str
) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
    async with worker.session.ws_connect(worker.url, protocols=protocols) as socket:
        yield socket


async def _next(socket: aiohttp.ClientWebSocketResponse) -> JsonObject:
    value: JsonObject = json.loads(await socket.receive_str(timeout=5))
    return value


async def test_the_key_is_the_subprotocol_and_comes_back() -> None:
    """The worker echoes what it was offered."""
    async with running_worker([hello]) as worker, _socket(worker, LB_KEY) as socket:
        assert socket.protocol == LB_KEY


async def test_a_ping_is_answered_with_the_slots() -> None:
    """The literal `ping` gets the status and the slots, and nothing else."""
    async with running_worker([hello]) as worker, _socket(worker, LB_KEY) as socket:
        await socket.send_str("ping")
        assert await _next(socket) == {
            "status": "ready",
            "slots": {"used": 0, "available": 2, "limit": 2, "queue": 0},
        }


@pytest.mark.parametrize("protocols", [("wrong",), (), ("wrong", LB_KEY)])
async def test_a_wrong_key_is_accepted_and_closed_with_4001(protocols: tuple[str, ...]) -> None:
    """The upgrade succeeds, the close says why, and nothing is told before."""
    async with running_worker([hello]) as worker, _socket(worker, *protocols) as socket:
        message = await socket.receive(timeout=5)
        assert (message.type, message.data, message.extra) == (
            aiohttp.WSMsgType.CLOSE,
            4001,
            "Unauthorized",
        )


async def test_each_second_everything_is_told() -> None:
    """Without any change, slots, system and services come by themselves, again and again."""
    async with running_worker([hello]) as worker, _socket(worker, LB_KEY) as socket:
        for _ in range(2):
            told = await _next(socket)
            assert told.keys() == {"status", "slots", "system", "services"}
            assert told["services"] == []
            system = told["system"]
            assert isinstance(system, dict)
            assert system.keys() == {"uptime", "usedMemoryPercent", "cpuLoad"}


async def test_a_change_is_told_at_once() -> None:
    """A slot that is taken, a slot that is free, maintenance on and off."""
    gate = asyncio.Event()

    @function
    async def gated() -> None:
        await gate.wait()

    async with running_worker([gated], slots=1) as worker, _socket(worker, LB_KEY) as socket:

        async def until(status: str, used: int, available: int) -> None:
            wanted = {"used": used, "available": available, "limit": 1, "queue": 0}
            while True:
                told = await _next(socket)
                if (told["status"], told["slots"]) == (status, wanted):
                    return

        call = asyncio.create_task(worker.task({"function": "gated"}))
        await until("ready", 1, 0)
        gate.set()
        await until("ready", 0, 1)
        await call
        await worker.ask("POST", "/off")
        await until("maintenance", 0, 0)
        await worker.ask("POST", "/on")
        await until("ready", 0, 1)


async def test_other_frames_are_ignored() -> None:
    """Only `ping` has a meaning."""
    async with running_worker([hello]) as worker, _socket(worker, LB_KEY) as socket:
        await socket.send_str("hello?")
        await socket.send_bytes(b"\x00")
        await socket.send_str("ping")
        assert (await _next(socket)).keys() == {"status", "slots"}


async def test_the_socket_is_closed_when_the_worker_stops() -> None:
    """A balancer is told that the worker goes away."""
    async with running_worker([hello]) as worker:
        async with worker.session.ws_connect(worker.url, protocols=[LB_KEY]) as socket:
            await socket.send_str("ping")
            await _next(socket)
            stopping = asyncio.create_task(worker.worker.stop())
            message = await socket.receive(timeout=5)
            while message.type is aiohttp.WSMsgType.TEXT:
                message = await socket.receive(timeout=5)
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert message.data == aiohttp.WSCloseCode.GOING_AWAY
        await stopping
