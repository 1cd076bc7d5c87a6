"""Both processes, each behind either shell, in a thread of their own, so that tests may block on sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.edge.fast_lane import FastLane
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import AUTH_KEY, LB_KEY, running_worker
from tests.fakes.raw_http import RawAnswer
from tests.fakes.task_functions import echo, fail, hello, nothing, short, slow, stream

BODY_LIMIT = 2000
HOSTED = (hello, echo, nothing, fail, short, slow, stream)
SHELLS = ("lane", "aiohttp")
_IDS = re.compile(rb"\b[0-9a-f]{16}-[0-9a-f]+\b")


class Edge:
    """One port.

    Attributes:
        process: worker or balancer.
        port: where it listens.
        key: what opens it.
        lane: the fast lane, whether or not it listens.
    """

    def __init__(self, process: str, url: str, key: str, lane: FastLane) -> None:
        self.process = process
        self.port = int(url.rpartition(":")[2])
        self.key = key
        self.lane = lane

    def ask(self, body: bytes, headers: Mapping[str, str]) -> RawAnswer:
        """Post a task on a new connection and read the answer."""
        lines = ["POST /task HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        raw = "\r\n".join([*lines, "", ""]).encode("utf-8") + body
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(raw)
            return _read(connection)


Edges = Mapping[tuple[str, str], Edge]


def masked(answer: RawAnswer) -> tuple[int, bytes, dict[str, str]]:
    """Return what must be the same in both shells: all but ids and the date."""
    headers = {name: _mask(value) for name, value in answer.headers.items() if name != "date"}
    if headers.get("content-length") == str(len(answer.body)):
        headers["content-length"] = "of the body"  # whose ids may be of different lengths
    if answer.headers["content-type"] == "application/msgpack":
        return answer.status, repr(sorted(answer.content)).encode(), headers
    return answer.status, _IDS.sub(b"ID", answer.body), headers


@contextmanager
def running_edges(folder: Path) -> Generator[Edges]:
    """Run two workers and two balancers while the context lasts, by (process, shell)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="edges")
    thread.start()
    stack = contextlib.AsyncExitStack()
    try:
        yield asyncio.run_coroutine_threadsafe(_started(stack, folder), loop).result(20)
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _started(stack: contextlib.AsyncExitStack, folder: Path) -> Edges:
    edges: dict[tuple[str, str], Edge] = {}
    for shell in SHELLS:
        fast = shell == "lane"
        worker = await stack.enter_async_context(
            running_worker(
                *HOSTED, fast_lane=fast, request_body_limit=BODY_LIMIT, webhook_max_retries=0
            )
        )
        edges["worker", shell] = Edge("worker", worker.url, AUTH_KEY, worker.lane)
        home = folder / shell
        home.mkdir()
        running = await stack.enter_async_context(
            running_balancer(
                home,
                worker.url,
                fast_lane=fast,
                request_body_limit=BODY_LIMIT,
                webhook_max_retries=0,
            )
        )
        edges["balancer", shell] = Edge("balancer", running.url, LB_KEY, running.balancer.lane)
    return edges


def _read(connection: socket.socket) -> RawAnswer:
    """Read one answer; a stream to its last chunk."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += _some(connection)
    head, _, body = raw.partition(b"\r\n\r\n")
    answer = RawAnswer(head, body)
    if answer.headers.get("transfer-encoding") == "chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += _some(connection)
    else:
        while len(body) < int(answer.headers["content-length"]):
            body += _some(connection)
    answer.body = body
    return answer


def _some(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    assert part, "the answer broke off"
    return part


def _mask(value: str) -> str:
    return _IDS.sub(b"ID", value.encode("latin-1")).decode("latin-1")
