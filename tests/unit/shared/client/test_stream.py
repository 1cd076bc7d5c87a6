"""Streams through the client, on the product's own stream shell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.client import Chunk, Client, Progress
from shared.errors import CabrankError, CallerError, Failure, FunctionError, NotFound, Unauthorized
from shared.task import Piece, PieceKind
from tests.fakes.contract_server import ContractServer, Input
from tests.fakes.waiting import wait_until

PIECES = [
    Piece(1, PieceKind.TEXT, b"one\n"),
    Piece(2, PieceKind.PROGRESS, b'{"done":1,"total":2}'),
    Piece(3, PieceKind.BYTES, b"\x00\x01"),
    Piece(4, PieceKind.JSON, b'{"n":1}'),
]
EVENTS = [
    Chunk(1, "one\n"),
    Progress(2, fraction=0.5, done=1, total=2),
    Chunk(3, b"\x00\x01"),
    Chunk(4, {"n": 1}),
]


async def _all(given: Input) -> AsyncIterator[Piece]:
    for piece in PIECES:
        yield piece


async def _breaks(given: Input) -> AsyncIterator[Piece]:
    if given.get("first"):
        yield PIECES[0]
    raise FunctionError(failure=Failure("function_error", "boom", error_type="KeyError"))


async def _endless(given: Input) -> AsyncIterator[Piece]:
    seq = 0
    while True:
        seq += 1
        yield Piece(seq, PieceKind.JSON, b"%d" % seq)
        await asyncio.sleep(0.001)


async def _counts(given: Input) -> AsyncIterator[Piece]:
    for seq in range(1, 201):
        yield Piece(seq, PieceKind.JSON, b"%d" % seq)
        await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def streams(server: ContractServer) -> None:
    """The streaming functions of the server."""
    server.streams = {"all": _all, "breaks": _breaks, "endless": _endless, "counts": _counts}


async def test_pieces_come_as_they_were_given(server: ContractServer, client: Client) -> None:
    """Text, bytes, JSON and progress come typed and in order; the result is there after the end."""
    stream = client.stream("all", n=1, correlation_id="c-1")
    with pytest.raises(CallerError):
        _ = stream.result
    assert [event async for event in stream] == EVENTS
    assert (stream.ended, stream.result, stream.task_id) == (True, {"all": True}, "task-1")
    assert server.bodies == [
        {"function": "all", "contract": 1, "input": {"n": 1}, "mode": "stream"}
    ]
    assert server.headers[0]["x-correlation-id"] == "c-1"
    assert server.left == []


async def test_an_error_before_the_first_piece(client: Client) -> None:
    """It is a proper status, raised out of the iteration."""
    stream = client.stream("breaks")
    with pytest.raises(FunctionError, match="boom"):
        _ = [event async for event in stream]
    assert not stream.ended


async def test_an_error_after_the_first_piece(client: Client) -> None:
    """It is told in band: what came before it was handed out, then it is raised."""
    stream = client.stream("breaks", first=True)
    seen: list[Chunk | Progress] = []

    async def read() -> None:
        async for event in stream:
            seen.append(event)  # noqa: PERF401 # what came before the error counts

    with pytest.raises(FunctionError, match="boom") as caught:
        await read()
    assert seen == EVENTS[:1]
    assert (caught.value.failure.error_type, caught.value.task_id) == ("KeyError", "task-1")
    with pytest.raises(FunctionError, match="boom"):
        _ = stream.result


async def test_leaving_the_loop_cancels_the_task(server: ContractServer, client: Client) -> None:
    """`break` alone is enough."""
    async for event in client.stream("endless"):
        if isinstance(event, Chunk) and event.value == 3:
            break
    await wait_until(lambda: server.left == ["endless"], "the task is cancelled")


async def test_leaving_the_block_cancels_the_task(server: ContractServer, client: Client) -> None:
    """`async with` cancels before it lets go."""
    async with client.stream("endless") as stream:
        async for _ in stream:
            break
    await wait_until(lambda: server.left == ["endless"], "the task is cancelled")
    await stream.aclose()


async def test_a_reader_that_is_cancelled_cancels_the_task(
    server: ContractServer, client: Client
) -> None:
    """A task of ours that ends takes the task of the fleet with it."""
    stream = client.stream("endless")

    async def read() -> None:
        async for _ in stream:
            pass

    reader = asyncio.create_task(read())
    await wait_until(lambda: stream.task_id, "the stream begins")
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await wait_until(lambda: server.left == ["endless"], "the task is cancelled")


async def test_a_connection_that_breaks_is_taken_up_again(
    server: ContractServer, client: Client
) -> None:
    """Nothing is lost and nothing comes twice, however often the network cuts."""
    server.cuts = [0.02, 0.02]
    stream = client.stream("counts")
    values = [event.value async for event in stream if isinstance(event, Chunk)]
    assert values == list(range(1, 201))
    assert stream.result == {"all": True}
    assert server.cuts == []
    resumed = [each["last-event-id"] for each in server.headers if "last-event-id" in each]
    assert len(resumed) == 2


async def test_a_stream_that_is_no_longer_kept(server: ContractServer, client: Client) -> None:
    """When the server has forgotten the task the loss is told; no part looks like the whole."""
    server.cuts = [0.02]
    stream = client.stream("counts")

    async def read() -> None:
        async for _ in stream:
            server.forget_streams()

    with pytest.raises(CabrankError) as caught:
        await read()
    assert (caught.value.code, caught.value.task_id) == ("connection_lost", "task-1")
    assert not stream.ended


async def test_an_unknown_function(client: Client) -> None:
    """Refusals are the errors that a call would raise."""
    with pytest.raises(NotFound):
        _ = [event async for event in client.stream("nope")]


async def test_a_wrong_key(server: ContractServer) -> None:
    """So is a wrong key."""
    async with Client(server.url, key="wrong") as client:
        with pytest.raises(Unauthorized):
            _ = [event async for event in client.stream("all")]


async def test_a_stream_is_read_once(client: Client) -> None:
    """A second reading would be a second task; it is refused."""
    stream = client.stream("all")
    _ = [event async for event in stream]
    with pytest.raises(CallerError):
        _ = [event async for event in stream]


async def test_a_stream_that_nobody_reads(server: ContractServer, client: Client) -> None:
    """The task is submitted when the iteration begins."""
    async with client.stream("all"):
        pass
    assert server.bodies == []


async def test_an_answer_that_is_no_stream(server: ContractServer, client: Client) -> None:
    """A server that answers a stream otherwise does not speak the contract."""
    server.calls["plain"] = server.calls["echo"]
    with pytest.raises(CabrankError) as caught:
        _ = [event async for event in client.stream("plain")]
    assert caught.value.code == "bad_answer"
