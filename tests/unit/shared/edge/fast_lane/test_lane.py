"""The lane over real sockets: what it serves, in which order, and what ends a connection."""

from __future__ import annotations

import asyncio

import pytest

from shared.edge import limits
from shared.edge.http_shell import SERVER
from tests.fakes.waiting import wait_until
from tests.unit.shared.edge.fast_lane.bed import BODY_LIMIT, Bed, request, running_lane
from tests.unit.shared.edge.fast_lane.scripted_desk import BIG


async def test_a_call_is_answered_and_the_connection_kept() -> None:
    """Two calls on one connection are two answers with the headers that the other shell gives too."""
    async with running_lane() as bed, bed.peer() as peer:
        first = await peer.ask(request("now", "one", "x-correlation-id: mine"))
        second = await peer.ask(request("now", "two"))
        assert (first.status, first.json["result"], second.json["result"]) == (200, "one", "two")
        assert first.headers == {
            "content-type": "application/json; charset=utf-8",
            "date": "Tue, 01 Jan 2030 00:00:00 GMT",
            "server": SERVER,
            "content-length": str(len(first.body)),
            "x-correlation-id": "mine",
        }
        assert second.headers["x-correlation-id"] == "made-1"
        assert bed.desk.correlation_ids == ["mine", "made-1"]
        assert bed.lane.handed_over == 0


async def test_a_failure_carries_its_headers() -> None:
    """A refusal of the desk and one of the key have their own headers, and the connection is kept."""
    async with running_lane() as bed, bed.peer() as peer:
        full = await peer.ask(request("refuse"))
        stranger = await peer.ask(request("now", key="wrong"))
        assert (full.status, full.json["code"], full.headers["retry-after"]) == (
            429,
            "queue_full",
            "3",
        )
        assert (stranger.status, stranger.headers["www-authenticate"]) == (401, "Bearer")
        assert bed.desk.told == ["unauthorized"]
        assert (await peer.ask(request("now"))).status == 200
        assert bed.lane.handed_over == 0


async def test_pipelined_calls_are_answered_in_order() -> None:
    """Calls that arrive together run one after the other; the second begins when the first is answered."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("hold", "1") + request("now", "2") + request("hold", "3"))
        await wait_until(lambda: bed.desk.held, "the first is held")
        bed.desk.let_go()
        assert len(bed.desk.taken) == 1  # nothing begins inside the event that ended the first
        assert [(await peer.answer()).json["result"] for _ in range(2)] == ["1", "2"]
        await wait_until(lambda: bed.desk.held, "the third is held")
        bed.desk.let_go()
        assert (await peer.answer()).json["result"] == "3"
        assert bed.lane.handed_over == 0


async def test_bytes_may_come_one_by_one() -> None:
    """A request is the same however its bytes arrive."""
    async with running_lane() as bed, bed.peer() as peer:
        sent = request("now", "slowly")
        await peer.send(*(sent[at : at + 1] for at in range(len(sent))))
        assert (await peer.answer()).json["result"] == "slowly"
        assert bed.lane.handed_over == 0


async def test_a_large_call_behind_a_held_one_is_read_in_the_end() -> None:
    """Reading pauses while a call is held and much is waiting behind it, and goes on afterwards."""
    large = request("now", "x" * 90_000)
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("hold", "first"))
        await wait_until(lambda: bed.desk.held, "the first is held")
        sending = asyncio.create_task(
            peer.send(*([large] * 100))
        )  # more than any socket buffer takes
        await wait_until(lambda: _received(bed) > 64 * 1024, "much is waiting")
        assert _received(bed) < 1_000_000
        bed.desk.let_go()
        answers = [await peer.answer() for _ in range(101)]
        await sending
        results = [answer.json["result"] for answer in answers]
        assert results == ["first", *["x" * 90_000] * 100]
        assert bed.lane.handed_over == 0


def _received(bed: Bed) -> int:
    """Return the bytes that the only connection holds unread."""
    (connection,) = bed.lane.connections
    return connection.unread


async def test_a_body_up_to_the_limit_is_served() -> None:
    """What REQUEST_BODY_LIMIT allows stays in the lane; one byte more is the other shell's."""
    async with running_lane() as bed, bed.peer() as peer:
        fits = b'{"do":"now"}'.ljust(BODY_LIMIT)
        assert (await peer.ask(request(body=fits))).status == 200
        assert bed.lane.handed_over == 0
        await peer.send(request(body=fits + b" "))
        await wait_until(lambda: bed.lane.handed_over == 1, "it was handed over")


async def test_connection_close_closes_after_the_answer() -> None:
    """The answer says so too, and what came behind the request is dropped."""
    async with running_lane() as bed, bed.peer() as peer:
        answer = await peer.ask(request("now", "last", "Connection: close") + request("now"))
        assert (answer.json["result"], answer.headers["connection"]) == ("last", "close")
        assert await peer.rest() == b""
        assert len(bed.desk.taken) == 1


async def test_keep_alive_may_be_asked_for() -> None:
    """`Connection: keep-alive` says what holds anyway."""
    async with running_lane() as bed, bed.peer() as peer:
        answer = await peer.ask(request("now", "", "Connection: Keep-Alive"))
        assert "connection" not in answer.headers
        assert (await peer.ask(request("now"))).status == 200
        assert bed.lane.handed_over == 0


async def test_a_caller_who_closes_its_half_has_left() -> None:
    """An end of input while a call is held cancels its task, and the connection is closed."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("hold"))
        await wait_until(lambda: bed.desk.held, "the call is held")
        peer.writer.write_eof()
        assert await peer.rest() == b""
        await wait_until(lambda: bed.desk.left_ids == ["task-1"], "its task was cancelled")
        assert not bed.lane.connections


async def test_a_caller_who_resets_has_left() -> None:
    """A broken connection cancels the task too."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("hold"))
        await wait_until(lambda: bed.desk.held, "the call is held")
        peer.reset()
        await wait_until(lambda: bed.desk.left_ids == ["task-1"], "its task was cancelled")


@pytest.mark.parametrize(
    "sent", [b"", request()[:40], request()[:-3]], ids=["idle", "head", "body"]
)
async def test_a_caller_who_leaves_in_between_leaves_nothing(sent: bytes) -> None:
    """A connection that ends before its request is complete is forgotten."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(sent)
        await wait_until(
            lambda: _received(bed) == len(sent) if bed.lane.connections else False, "it came"
        )
        peer.reset()
        await wait_until(lambda: not bed.lane.connections, "it was forgotten")
        assert not bed.desk.taken


async def test_an_answer_may_take_a_coroutine() -> None:
    """What has to wait is answered in its turn, and pipelined calls wait behind it."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("wait", "later", "x-correlation-id: c") + request("now", "behind"))
        await wait_until(lambda: bed.desk.taken, "it was taken")
        bed.desk.gate.set()
        later, behind = await peer.answer(), await peer.answer()
        assert (later.status, later.json, behind.json["result"]) == (
            202,
            {"said": "later"},
            "behind",
        )
        assert bed.desk.logged_under == ["c"]
        assert bed.lane.handed_over == 0


async def test_a_coroutine_is_cancelled_when_its_caller_leaves() -> None:
    """As the other shell cancels its handlers."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("wait"))
        await wait_until(lambda: bed.desk.taken, "it was taken")
        peer.reset()
        await wait_until(lambda: bed.desk.cancelled == 1, "it was cancelled")


@pytest.mark.parametrize(
    ("do", "status", "code"),
    [("crash", 500, "internal_error"), ("outage", 503, "store_unavailable")],
)
async def test_what_raises_is_answered_and_closes(do: str, status: int, code: str) -> None:
    """A defect behind the lane is 500 without a word of its own; the sink may not be told twice."""
    async with running_lane() as bed, bed.peer() as peer:
        answer = await peer.ask(request(do))
        assert (answer.status, answer.json["code"]) == (status, code)
        assert b"secret" not in answer.body
        assert (answer.headers["connection"], await peer.rest()) == ("close", b"")
        assert not bed.lane.connections


async def test_a_coroutine_that_raises_is_answered() -> None:
    """A defect while it is waited for is 500 too."""
    async with running_lane() as bed, bed.peer() as peer:
        bed.desk.gate.set()
        answer = await peer.ask(request("wait-crash"))
        assert (answer.status, answer.json["error"]) == (500, "Internal error")
        assert (await peer.ask(request("now"))).status == 200


async def test_a_coroutine_that_somebody_else_cancels_breaks_the_connection() -> None:
    """As when the process ends before a webhook is delivered: there is no answer, and no silence."""
    async with running_lane() as bed, bed.peer() as peer:
        bed.desk.gate.set()
        await peer.send(request("wait-cancel"))
        assert await peer.rest() == b""


async def test_an_idle_connection_is_closed() -> None:
    """After KEEP_ALIVE_S without a request, and not before."""
    async with running_lane() as bed, bed.peer() as peer:
        assert (await peer.ask(request("now"))).status == 200
        bed.pass_time(limits.KEEP_ALIVE_S)
        assert (await peer.ask(request("now"))).status == 200
        bed.pass_time(limits.KEEP_ALIVE_S + 2)
        assert await peer.rest() == b""


async def test_a_held_call_is_not_idle() -> None:
    """Its task has a deadline; the connection has none."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("hold", "long"))
        await wait_until(lambda: bed.desk.held, "the call is held")
        bed.pass_time(10 * limits.KEEP_ALIVE_S)
        bed.desk.let_go()
        assert (await peer.answer()).json["result"] == "long"


async def test_a_sender_that_is_now_and_then_in_two_pieces_is_not_slow() -> None:
    """Sweeps that see one incomplete request after the other do not take them for one slow one."""
    async with running_lane() as bed, bed.peer() as peer:
        for _ in range(5):
            sent = request("now")
            await peer.send(sent[:-1])
            await wait_until(lambda: _received(bed) > 0, "most of it is there")
            bed.pass_time(1)
            assert (await peer.ask(sent[-1:])).status == 200
        assert bed.lane.handed_over == 0


async def test_a_reader_that_takes_nothing_is_cut() -> None:
    """An answer that nobody reads does not hold its connection for ever; one that is read slowly does."""
    async with running_lane() as bed, bed.peer() as peer:
        await peer.send(request("big"))
        await wait_until(lambda: bed.desk.taken, "it is answered")
        (connection,) = bed.lane.connections
        assert not connection.writable
        bed.pass_time(limits.LINGER_S - 5)
        await peer.reader.readexactly(BIG // 2)
        bed.pass_time(limits.LINGER_S - 5)
        for _ in range(5):  # until it would be forgotten
            await asyncio.sleep(0)
        assert bed.lane.connections

        def is_cut() -> bool:
            # Again and again, because the system may still take some of the answer for its reader.
            bed.pass_time(limits.LINGER_S + 5)
            return not bed.lane.connections

        await wait_until(is_cut, "it was cut")


async def test_the_date_goes_on() -> None:
    """The Date header is as old as the last sweep at most."""
    async with running_lane() as bed, bed.peer() as peer:
        bed.pass_time(61)
        answer = await peer.ask(request("now"))
        assert answer.headers["date"] == "Tue, 01 Jan 2030 00:01:01 GMT"


async def test_a_head_is_authorized_once_a_second() -> None:
    """The same head is judged again only after a sweep, strangers each time."""
    async with running_lane() as bed, bed.peer() as peer:
        for _ in range(5):
            await peer.ask(request("now"))
        assert bed.desk.asked == 1
        bed.pass_time(1)
        await peer.ask(request("now"))
        assert bed.desk.asked == 2
        for _ in range(3):
            await peer.ask(request("now", key="wrong"))
        assert bed.desk.asked == 5
