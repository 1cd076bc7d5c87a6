"""`GET /logs`: the lines that are kept, and those that come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web

from shared.edge.http_shell import answer_logs, edge_application, listen
from shared.ids import SequentialIds
from shared.log_ring import MAX_FOLLOWERS, LogQuery, LogRing
from tests.fakes.waiting import wait_until
from tests.unit.shared.edge.http_shell.wire import exchange

AT = "2026-01-02T03:04:05.678Z"


class Noon:
    """A clock that stands still."""

    def monotonic(self) -> float:
        """Return a fixed time."""
        return 0.0

    def utc_now(self) -> datetime:
        """Return a fixed time."""
        return datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@pytest.fixture
def ring() -> LogRing:
    """A ring with two lines."""
    made = LogRing(Noon())
    made.add("info", "fleet", "first")
    made.add("warn", "task", "second", task_id="t-1")
    return made


@pytest.fixture
async def port(ring: LogRing) -> AsyncIterator[int]:
    """A server that shows the ring."""
    app = edge_application(SequentialIds("made"))

    async def logs(request: web.Request) -> web.StreamResponse:
        return await answer_logs(request, ring)

    app.router.add_get("/logs", logs)
    runner = await listen(
        app, SequentialIds("bad"), host="127.0.0.1", port=0, shutdown_timeout_s=0.05
    )
    yield runner.port
    await runner.cleanup()


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


FIRST = f"[{AT}] [INFO] [FLEET] first"
SECOND = f"[{AT}] [WARN] [TASK] second task_id=t-1"


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("", [FIRST, SECOND]),
        ("?limit=1", [SECOND]),
        ("?level=warn", [SECOND]),
        ("?task_id=t-1", [SECOND]),
        ("?since=2026-01-02T03:04:06Z", []),
    ],
)
async def test_lines_are_shown_oldest_first(port: int, query: str, lines: list[str]) -> None:
    """In Andera's form, narrowed by the query."""
    answered = await exchange(port, _get(f"/logs{query}"))
    assert (answered.status, json.loads(answered.body)) == (200, {"logs": lines})


@pytest.mark.parametrize("query", ["limit=x", "level=loud", "since=noon", "follow=websocket"])
async def test_a_query_that_makes_no_sense_is_refused(port: int, query: str) -> None:
    """With the name of the field and what is expected."""
    answered = await exchange(port, _get(f"/logs?{query}"))
    told = json.loads(answered.body)
    assert (answered.status, told["code"]) == (400, "invalid_field")
    assert told["error"].startswith(f"Invalid {query.partition('=')[0]}: must be ")


async def test_a_follower_gets_what_is_kept_and_what_comes(port: int, ring: LogRing) -> None:
    """As SSE, one event a line; a follower that left is forgotten."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_get("/logs?follow=sse&level=warn"))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"text/event-stream" in head
    assert f"data: {SECOND}\n\n".encode() in await reader.readuntil(b"\n\n\r\n")
    ring.add("info", "x", "not wanted")
    ring.add("error", "x", "two\nlines")
    line = f"data: [{AT}] [ERROR] [X] two\\nlines\n\n".encode()
    assert line in await reader.readuntil(b"\n\n\r\n")
    assert ring.followers == 1
    writer.close()
    await wait_until(lambda: ring.followers == 0, "the follower is forgotten")


async def test_a_line_that_comes_while_a_follower_is_answered_is_shown_once(ring: LogRing) -> None:
    """Neither lost nor repeated, however long the head of the answer takes."""
    app = edge_application(SequentialIds("made"))

    async def logs(request: web.Request) -> web.StreamResponse:
        return await answer_logs(request, ring)

    async def meanwhile(request: web.Request, response: web.StreamResponse) -> None:
        ring.add("warn", "x", "meanwhile")

    app.router.add_get("/logs", logs)
    app.on_response_prepare.append(meanwhile)
    runner = await listen(
        app, SequentialIds("bad"), host="127.0.0.1", port=0, shutdown_timeout_s=0.05
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", runner.port)
    writer.write(_get("/logs?follow=sse&level=warn"))
    received = b""
    while b"meanwhile" not in received:
        received += await reader.read(4096)
    ring.add("warn", "x", "afterwards")
    while b"afterwards" not in received:
        received += await reader.read(4096)
    assert received.count(b"meanwhile") == 1
    writer.close()
    await runner.cleanup()


async def test_a_follower_that_takes_nothing_is_dropped(
    port: int, ring: LogRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds one of few places."""
    monkeypatch.setattr("shared.edge.limits.LINGER_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(_get("/logs?follow=sse"))
    await wait_until(lambda: ring.followers == 1, "it follows")

    def flooded() -> bool:
        ring.add("info", "x", "y" * 1_000_000)
        return ring.followers == 0

    await wait_until(flooded, "it is dropped")
    writer.close()
    del reader


async def test_followers_are_bounded(port: int, ring: LogRing) -> None:
    """One too many is told when to come again."""
    for _ in range(MAX_FOLLOWERS):
        ring.subscribe(LogQuery(), lambda: None)
    answered = await exchange(port, _get("/logs?follow=sse"))
    assert (answered.status, answered.headers["retry-after"]) == (429, "10")


async def test_a_silent_follower_is_kept_alive(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By comments, which readers skip."""
    monkeypatch.setattr("shared.edge.limits.SSE_KEEP_ALIVE_S", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_get("/logs?follow=sse&task_id=nobody"))
    received = await reader.readuntil(b": keep-alive\n\n\r\n")
    received += await reader.readuntil(b": keep-alive\n\n\r\n")
    assert b"data:" not in received
    writer.close()
