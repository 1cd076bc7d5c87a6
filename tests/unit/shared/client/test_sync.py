"""The facade for code without an event loop: the same methods, waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from shared.client import Chunk, Client, SyncClient
from shared.errors import CallerError, FunctionError
from shared.task import Piece, PieceKind
from shared.task_state import TaskStatus
from tests.fakes.contract_server import KEY, ContractServer, Input
from tests.fakes.waiting import wait_until

T = TypeVar("T")


async def _endless(given: Input) -> AsyncIterator[Piece]:
    seq = 0
    while True:
        seq += 1
        yield Piece(seq, PieceKind.JSON, b"%d" % seq)
        await asyncio.sleep(0.001)


async def _two(given: Input) -> AsyncIterator[Piece]:
    yield Piece(1, PieceKind.TEXT, b"a")
    yield Piece(2, PieceKind.TEXT, b"b")


async def _in_thread(work: Callable[[SyncClient], T], server: ContractServer) -> T:
    """Run code that waits, while this loop serves it."""

    def run() -> T:
        with Client.sync(server.url, key=KEY) as client:
            return work(client)

    return await asyncio.to_thread(run)


def test_it_has_every_method_of_the_client() -> None:
    """Same names, no method of its own beside those that open and close."""
    public = {name for name in dir(Client) if not name.startswith("_")}
    own = {name for name in vars(SyncClient) if not name.startswith("_")}
    assert public - own == {"sync"}
    assert own - public == {"run", "closed"}


async def test_calls_and_records(server: ContractServer) -> None:
    """Results, records and errors are those of the async client."""

    def work(client: SyncClient) -> None:
        assert client.call("echo", n=1) == {"n": 1}
        task_id = client.submit("echo", webhook="http://h/x")
        assert client.status(task_id).status is TaskStatus.QUEUED
        client.cancel(task_id)
        assert client.wait(task_id, timeout_s=1).status is TaskStatus.CANCELLED
        assert client.workers() == []
        assert client.health() == {"status": "ready"}
        assert len(client.tasks().tasks) == 1
        with pytest.raises(FunctionError, match="no luck"):
            client.call("fail", text="no luck")

    await _in_thread(work, server)


async def test_a_stream_for_a_plain_loop(server: ContractServer) -> None:
    """Pieces come in a `for`, the result is there afterwards."""
    server.streams["two"] = _two

    def work(client: SyncClient) -> None:
        stream = client.stream("two")
        assert list(stream) == [Chunk(1, "a"), Chunk(2, "b")]
        assert (stream.ended, stream.result, stream.task_id) == (True, {"all": True}, "task-1")
        with pytest.raises(CallerError):
            list(stream)

    await _in_thread(work, server)


async def test_leaving_the_loop_cancels_the_task(server: ContractServer) -> None:
    """`break` and the end of a `with` cancel, as in async code."""
    server.streams["endless"] = _endless

    def work(client: SyncClient) -> None:
        for _ in client.stream("endless"):
            break
        with client.stream("endless") as stream:
            for _ in stream:
                break

    await _in_thread(work, server)
    await wait_until(lambda: server.left == ["endless"] * 2, "both tasks are cancelled")


async def test_several_threads_use_one_client(server: ContractServer) -> None:
    """The client is safe to share between threads."""

    def work(client: SyncClient) -> list[object]:
        def call(n: int) -> object:
            return client.call("echo", n=n)

        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(call, range(8)))

    assert await _in_thread(work, server) == [{"n": n} for n in range(8)]


def test_a_closed_client_says_so() -> None:
    """Using it after its end is a mistake with a message; closing it twice is none."""
    client = Client.sync("http://127.0.0.1:1")
    client.close()
    client.close()
    assert client.closed
    with pytest.raises(CallerError, match="closed"):
        client.call("echo")


def test_closing_ends_the_thread() -> None:
    """No thread stays behind."""
    before = threading.active_count()
    client = Client.sync("http://127.0.0.1:1")
    assert threading.active_count() == before + 1
    client.close()
    assert threading.active_count() == before
