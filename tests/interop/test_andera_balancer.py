"""Interop by wire: everything an Andera balancer was seen to send is sent to our worker, byte for byte.

Its answers are compared field by field with those of Andera's worker. What the contract says that
ours does otherwise is said here, once: a failed delivery is 502, and no slot is held while a hook is
tried.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from tests.contract.worker.observed import Frame, captured_frames, exchanges
from tests.contract.worker.running import RunningWorker, running_worker
from tests.fakes.waiting import wait_until
from tests.interop.capture import (
    AUTH_KEY,
    CLOSE,
    LB_KEY,
    Http,
    JsonObject,
    Message,
    State,
    parsed_http,
    parsed_messages,
    read_http,
    read_message,
    socket_frames,
)
from worker import Context, function

OF_THE_RUN = {"uptime", "usedMemoryPercent", "cpuLoad", "websocketPort"}
UNAUTHORIZED = Message(CLOSE, struct.pack("!H", 4001) + b"Unauthorized")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@function(streaming=True)
async def hello(name: str = "World", *, ctx: Context) -> dict[str, str]:
    """Does what the function of the captured worker did."""
    await ctx.stream(f"Hello {name}!")
    return {"message": f"Hello {name}!"}


@asynccontextmanager
async def captured_like() -> AsyncGenerator[RunningWorker]:
    """Run a worker with the captured one's keys, function and slots; its hooks are given up quickly."""
    async with running_worker([hello], slots=2, webhook_retry_delay=1) as worker:
        yield worker


class Replay:
    """Plays the balancer's half of the capture, in its order, and notes what our worker says.

    Args:
        worker: ours.

    Attributes:
        answers: pairs of Andera's answer and ours.
        told: pairs of what Andera's worker said on the slot socket and what ours did.
    """

    def __init__(self, worker: RunningWorker) -> None:
        self.answers: list[tuple[Http, Http]] = []
        self.told: list[tuple[JsonObject, JsonObject]] = []
        self._worker = worker
        self._streams: dict[int, Streams] = {}
        self._status = "ready"
        self._upgraded = False
        self._pushed: JsonObject | None = None  # what ours said last without being asked

    async def run(self) -> None:
        """Send everything and read every answer."""
        for frame in captured_frames():
            if frame.to_worker:
                await self._send(frame)
            elif frame.port == "http":
                await self._answer(frame)
            elif not self._upgraded:
                self._upgraded = True
                await self._upgrade(frame)
            else:
                for message in await parsed_messages(frame.data):
                    await self._tell(frame, message.json)

    def close(self) -> None:
        """Close every connection."""
        for _, writer in self._streams.values():
            writer.close()

    async def _send(self, frame: Frame) -> None:
        if frame.connection not in self._streams:
            self._streams[frame.connection] = await self._worker.connect()
        self._streams[frame.connection][1].write(frame.data)
        if b'"webhook"' in frame.data:  # the order below must not come before it
            await wait_until(self._hook_was_tried, "the hook was tried")

    async def _hook_was_tried(self) -> bool:
        shown = (await self._worker.ask("GET", "/metrics")).body
        return b"cabrank_worker_webhook_tries_total 0.0" not in shown

    async def _answer(self, frame: Frame) -> None:
        theirs = await parsed_http(frame.data)
        if b'"status"' in theirs.body:
            await self._order(str(theirs.json["status"]))
        ours = await read_http(self._streams[frame.connection][0])
        self.answers.append((theirs, ours))

    async def _upgrade(self, frame: Frame) -> None:
        ours = await read_http(self._streams[frame.connection][0])
        self.answers.append((await parsed_http(frame.data), ours))

    async def _tell(self, frame: Frame, theirs: JsonObject) -> None:
        """Read on until ours has said what Andera's did: the short form is the answer to a ping.

        What Andera said every second without news is compared with what ours said last, to save the seconds.
        """
        await self._order(str(theirs["status"]))
        pushed = self._pushed if "system" in theirs else None
        if pushed is not None and pushed["status"] == theirs["status"]:
            self.told.append((theirs, pushed))
            return
        reader = self._streams[frame.connection][0]
        while True:
            ours = (await read_message(reader)).json
            if "system" in ours:
                self._pushed = ours
            if ours.keys() == theirs.keys() and ours["status"] == theirs["status"]:
                self.told.append((theirs, ours))
                return

    async def _order(self, status: str) -> None:
        """Give the maintenance order that was given to the captured worker, by another connection."""
        if status != self._status:
            self._status = status
            path = "/off" if status == "maintenance" else "/on"
            assert (await self._worker.ask("POST", path)).status == 200


@pytest.fixture
async def replay() -> AsyncGenerator[Replay]:
    """Play the whole capture to our worker."""
    async with captured_like() as worker:
        playing = Replay(worker)
        try:
            await playing.run()
            yield playing
        finally:
            playing.close()


def _same(theirs: object, ours: object, place: str = "") -> None:
    """Fail unless everything that theirs says is in ours; numbers of the run need only be numbers."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        wanted, members = cast("JsonObject", theirs), cast("JsonObject", ours)
        for name, value in wanted.items():
            if name == "required" and value is False:
                assert not members.get(name), place  # ours leaves it out
                continue
            assert name in members, f"{place}.{name} is missing"
            if name in OF_THE_RUN:
                assert isinstance(members[name], (int, float)), place
            elif name == "slots":
                _same(
                    _without_delivery(cast("dict[str, int]", value), members), members[name], place
                )
            else:
                _same(value, members[name], f"{place}.{name}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        for one, other in zip(
            cast("list[object]", theirs), cast("list[object]", ours), strict=True
        ):
            _same(one, other, place)
    else:
        assert theirs == ours, place


def _without_delivery(slots: dict[str, int], ours: JsonObject) -> dict[str, int]:
    """Return Andera's slots with the one free that it holds while it delivers a hook (contract §2)."""
    return {**slots, "used": 0, "available": slots["limit"] if ours["status"] == "ready" else 0}


async def test_every_captured_request_gets_the_captured_answer(replay: Replay) -> None:
    """Status, type and every JSON field; the stream's bytes; all on the connections that Andera used."""
    assert len(replay.answers) == len(exchanges()) + 1
    for theirs, ours in replay.answers:
        if theirs.status == 101:
            continue
        kind = theirs.headers["content-type"]
        assert ours.headers["content-type"].startswith(kind)
        assert ours.headers.get("connection", "keep-alive") == "keep-alive"
        failed = b"Failed to send webhook" in theirs.body
        assert ours.status == (502 if failed else theirs.status)
        if kind.startswith("text/plain"):
            assert ours.body == theirs.body
        else:
            _same(theirs.json, ours.json)


async def test_the_slot_socket_says_what_was_captured(replay: Replay) -> None:
    """Handshake, answers to pings, and pushes with the status of that moment, field by field."""
    ((theirs, ours),) = [pair for pair in replay.answers if pair[0].status == 101]
    assert ours.status == 101
    for name, value in theirs.headers.items():
        assert ours.headers[name].lower() == value.lower(), name
    statuses = [State.of(said).status for said, _ in replay.told]
    assert {"ready", "maintenance"} == set(statuses)
    assert statuses[-1] == "ready"
    for said, answer in replay.told:
        assert said.keys() == answer.keys()
        _same(said, answer)


# Keys

REQUEST = next(request for request, _ in exchanges() if b"POST /task" in request)
HEALTH = next(request for request, _ in exchanges() if b"GET /health" in request)


async def _asked(worker: RunningWorker, request: bytes) -> Http:
    reader, writer = await worker.connect()
    writer.write(request)
    try:
        return await read_http(reader)
    finally:
        writer.close()


def _with(name: bytes, key: bytes | None) -> Callable[[bytes], bytes]:
    """Return what changes a header of captured bytes, or leaves it out."""

    def changed(request: bytes) -> bytes:
        lines = request.split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(name.lower() + b":")]
        assert len(kept) == len(lines) - 1
        return b"\r\n".join(kept if key is None else [kept[0], name + b": " + key, *kept[1:]])

    return changed


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (_with(b"authorization", b"bad"), 401),
        (_with(b"authorization", None), 401),
        (_with(b"authorization", LB_KEY.encode()), 401),
        (_with(b"x-lb-auth", b"bad"), 401),
        (_with(b"x-lb-auth", None), 200),
        (_with(b"authorization", b"Bearer " + AUTH_KEY.encode()), 200),
    ],
)
async def test_a_captured_task_under_other_keys(
    change: Callable[[bytes], bytes], status: int
) -> None:
    """A wrong key is 401 in Andera's words; the second key may be absent, but not wrong."""
    async with captured_like() as worker:
        answer = await _asked(worker, change(REQUEST))
    assert answer.status == status
    if status == 401:
        assert answer.json["error"] == "Unauthorized"


@pytest.mark.parametrize("key", [b"bad", None])
async def test_a_captured_look_under_a_bad_key(key: bytes | None) -> None:
    """The public view, as Andera's: a status and nothing else."""
    async with captured_like() as worker:
        answer = await _asked(worker, _with(b"x-lb-auth", key)(HEALTH))
    assert (answer.status, answer.json) == (200, {"status": "ready"})


@pytest.mark.parametrize("key", [b"bad", b"lbkk", b"LBK", None])
async def test_a_captured_upgrade_under_a_bad_key(key: bytes | None) -> None:
    """The upgrade succeeds and echoes the key; the next frame closes with 4001, and nothing is told."""
    upgrade, accepted, _ = socket_frames()
    async with captured_like() as worker:
        reader, writer = await worker.connect()
        writer.write(_with(b"Sec-WebSocket-Protocol", key)(upgrade.data))
        answer = await read_http(reader)
        assert answer.status == (await parsed_http(accepted.data)).status == 101
        assert answer.headers.get("sec-websocket-protocol") == (key and key.decode())
        assert await read_message(reader) == UNAUTHORIZED
        writer.close()
