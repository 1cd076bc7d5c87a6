"""What leaves the lane: everything odd, for good, with every byte that was not answered."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.waiting import wait_until
from tests.unit.shared.edge.fast_lane.bed import request, running_lane

BODY = b'{"do":"now","say":""}'
CHUNKED = b"15\r\n" + BODY + b"\r\n0\r\n\r\n"


def _head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


# (what, bytes, status of the other shell's answer)
ODD: list[tuple[str, bytes, int]] = [
    ("another path", _head("GET /health HTTP/1.1", "Host: x"), 200),
    ("an unknown path", _head("GET /nope HTTP/1.1", "Host: x"), 404),
    ("another method", _head("GET /task HTTP/1.1", "Host: x"), 405),
    ("a query", request(line="POST /task?a=1 HTTP/1.1"), 200),
    ("HTTP/1.0", request(line="POST /task HTTP/1.0"), 200),
    ("lower case", request(line="post /task HTTP/1.1"), 400),
    ("a leading line break", b"\r\n" + request(), 200),
    ("no length", _head("POST /task HTTP/1.1", "Host: x"), 200),
    ("an empty body", request(body=b""), 200),
    ("chunks", _head("POST /task HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + CHUNKED, 200),
    ("another encoding", request("now", "", "Content-Encoding: identity"), 200),
    ("an upgrade", request("now", "", "Connection: upgrade", "Upgrade: x"), 200),
    ("an upgrade without a list", request("now", "", "Upgrade: x"), 200),
    ("a list of options", request("now", "", "Connection: keep-alive, te"), 200),
    ("a proxy's connection", request("now", "", "Proxy-Connection: close"), 200),
    ("an expectation", request("now", "", "Expect: miracles"), 417),
    ("a header twice", request("now", "", "Accept: a", "accept: b"), 200),
    ("a length twice", request("now", "", "Content-Length: 5"), 400),
    ("two hosts", request("now", "", "Host: y"), 400),
    ("no host", _head("POST /task HTTP/1.1", f"Content-Length: {len(BODY)}") + BODY, 400),
    ("a signed length", _head("POST /task HTTP/1.1", "Host: x", "Content-Length: +5"), 400),
    ("a space before the colon", request("now", "", "A : b"), 400),
    ("a folded header", request("now", "", "A: b", " c"), 400),
    ("a control character", request("now", "", "A: b\x00"), 400),
    ("the old websocket", request("now", "", "Sec-WebSocket-Key1: x"), 400),
    ("a long header", request("now", "", "A: " + "a" * 9000), 431),
    ("many headers", request("now", "", *(f"A{n}: 1" for n in range(150))), 431),
    ("no HTTP", b"nonsense\r\n\r\n", 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("what the desk does not take", request("other"), 200),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
async def test_what_is_odd_is_answered_by_the_other_shell(sent: bytes, status: int) -> None:
    """The desk takes nothing of it, and the answer is the other shell's."""
    async with running_lane() as bed, bed.peer() as peer:
        answer = await peer.ask(sent)
        assert answer.status == status
        assert bed.lane.handed_over == 1
        assert not bed.desk.taken
        assert not bed.lane.connections


async def test_it_is_for_good() -> None:
    """A connection that left does not come back, however plain its next requests are."""
    async with running_lane() as bed, bed.peer() as peer:
        assert (await peer.ask(request("now"))).status == 200
        assert (await peer.ask(_head("GET /health HTTP/1.1", "Host: x"))).body == b"ready"
        assert (await peer.ask(request("now"))).headers["x-shell"] == "aiohttp"
        assert (bed.lane.handed_over, len(bed.desk.taken), len(bed.other)) == (1, 1, 1)


async def test_earlier_answers_come_first() -> None:
    """What is odd waits until every call before it was answered."""
    async with running_lane() as bed, bed.peer() as peer:
        health = _head("GET /health HTTP/1.1", "Host: x")
        await peer.send(
            request("hold", "first") + request("now", "second") + health + request("now")
        )
        await wait_until(lambda: bed.desk.held, "the first is held")
        assert bed.lane.handed_over == 0
        bed.desk.let_go()
        answers = [await peer.answer() for _ in range(4)]
        assert [answer.headers.get("x-shell") for answer in answers] == [
            None,
            None,
            "aiohttp",
            "aiohttp",
        ]
        assert [json.loads(answer.body)["result"] for answer in answers[:2]] == ["first", "second"]


@pytest.mark.parametrize("at", [1, 30, 80, -1])
async def test_bytes_that_come_later_go_to_the_other_shell(at: int) -> None:
    """A request that is found to be odd in its middle is whole on the other side."""
    async with running_lane() as bed, bed.peer() as peer:
        sent = request("other", "x" * 500)
        await peer.send(sent[:at], sent[at:])
        answer = await peer.answer()
        assert (answer.headers["x-shell"], answer.body) == ("aiohttp", sent[-len(answer.body) :])


async def test_expect_continue_is_answered() -> None:
    """The other shell tells the caller to go on, then takes the body."""
    async with running_lane() as bed, bed.peer() as peer:
        sent = request("now", "x", "Expect: 100-continue")
        body = sent.partition(b"\r\n\r\n")[2]
        go_on = await peer.ask(sent[: -len(body)])
        assert (go_on.status, (await peer.ask(body)).body) == (100, body)
        assert bed.other == [body]


async def test_a_strangers_body_is_not_waited_for() -> None:
    """Who has no key is handed over before the body is there; nothing of it is kept in the lane."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("now", "x" * 1000, key="wrong")[:-1000])
        await wait_until(lambda: bed.lane.handed_over == 1, "it was handed over")
        assert not bed.desk.told


@pytest.mark.parametrize("size", [30, 200], ids=["in the head", "in the body"])
async def test_a_slow_sender_is_handed_over(size: int) -> None:
    """A request that is incomplete at three sweeps is left to the other shell and its time-outs."""
    async with running_lane() as bed, bed.peer() as peer:
        sent = request("now", "x" * 500)
        await peer.send(sent[:size])
        await wait_until(lambda: any(each.unread for each in bed.lane.connections), "it began")
        bed.pass_time(2)
        assert bed.lane.handed_over == 0
        bed.pass_time(1)
        assert bed.lane.handed_over == 1
        assert (await peer.ask(sent[size:])).headers["x-shell"] == "aiohttp"


async def test_a_held_call_with_an_odd_one_behind_it_can_be_left() -> None:
    """A caller who leaves before the hand-over leaves nothing behind."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("hold") + _head("GET /health HTTP/1.1", "Host: x"))
        await wait_until(lambda: bed.desk.held, "the first is held")
        peer.reset()
        await wait_until(lambda: bed.desk.left_ids == ["task-1"], "its task was cancelled")
        await asyncio.sleep(0)
        assert bed.lane.handed_over == 0


async def test_a_body_in_pieces_that_the_desk_does_not_take_is_handed_over_whole() -> None:
    """What the desk has looked at goes to the other shell byte for byte, its head included."""
    async with running_lane() as bed, bed.peer() as peer:
        body = b'{"do":"other","say":"%b"}' % (b"x" * 50_000)
        sent = request(body=body)
        await peer.send(sent[:20_000])
        await wait_until(lambda: any(each.unread for each in bed.lane.connections), "it began")
        answer = await peer.ask(sent[20_000:])
        assert answer.headers["x-shell"] == "aiohttp"
        assert bed.other == [body]
