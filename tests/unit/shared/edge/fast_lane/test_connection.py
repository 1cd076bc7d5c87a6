"""A connection on a wire of the test's own: what only happens when a client does not read."""

from __future__ import annotations

import asyncio

from shared.edge import limits
from shared.edge.fast_lane import FastLane
from shared.edge.fast_lane.connection import Connection
from shared.edge.fast_lane.lane import TOGETHER
from shared.ids import SequentialIds
from tests.fakes.manual_clock import ManualClock
from tests.unit.shared.edge.fast_lane.bed import BODY_LIMIT, request
from tests.unit.shared.edge.fast_lane.scripted_desk import ScriptedDesk


class Unread(asyncio.Transport):
    """A transport whose client takes nothing: closing it never ends.

    Attributes:
        calls: what was done to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it for ever."""
        self.calls.append("write")

    def close(self) -> None:
        """Wait for the client."""
        self.calls.append("close")

    def abort(self) -> None:
        """End."""
        self.calls.append("abort")

    def pause_reading(self) -> None:
        """Note it."""
        self.calls.append("pause")

    def resume_reading(self) -> None:
        """Note it."""
        self.calls.append("resume")

    def is_closing(self) -> bool:
        """Tell whether it was closed."""
        return "close" in self.calls


def _connected(desk: ScriptedDesk, clock: ManualClock) -> tuple[FastLane, Connection, Unread]:
    def successor() -> asyncio.Protocol:
        raise AssertionError("nothing here is odd")

    ids = SequentialIds("made")
    lane = FastLane(desk, successor, ids, clock, body_limit=BODY_LIMIT, software="x")
    connection, wire = lane(), Unread()
    connection.connection_made(wire)
    return lane, connection, wire


async def test_an_answer_that_is_never_read_does_not_hold_an_idle_connection() -> None:
    """It is closed when it was idle for long enough, and cut when that does not end it."""
    clock = ManualClock()
    lane, connection, wire = _connected(ScriptedDesk(), clock)
    connection.data_received(request("now"))
    clock.advance(limits.KEEP_ALIVE_S + 1)
    lane.sweep()
    assert wire.calls == ["write", "close"]
    clock.advance(limits.LINGER_S)
    lane.sweep()
    assert wire.calls == ["write", "close", "abort"]


async def test_who_reads_no_answers_cannot_fill_the_memory() -> None:
    """Nothing is served, and soon nothing is read, until the answers were taken."""
    desk = ScriptedDesk()
    _, connection, wire = _connected(desk, ManualClock())
    connection.pause_writing()
    call = request("now", "x" * 1000)
    for _ in range(100):
        connection.data_received(call)
    assert (wire.calls, desk.taken) == (["pause"], [])
    connection.resume_writing()
    await asyncio.sleep(0)
    assert wire.calls == ["pause", "resume", *["write"] * 100]


async def test_answers_of_one_turn_are_written_together() -> None:
    """So that a client on the same machine wakes once for many of them; a crowd does not wait."""
    desk = ScriptedDesk()
    lane, first, wire = _connected(desk, ManualClock())
    others = [Unread() for _ in range(TOGETHER)]
    first.data_received(request("now"))
    assert wire.calls == []
    await asyncio.sleep(0)
    assert wire.calls == ["write"]
    for other in others:
        connection = lane()
        connection.connection_made(other)
        connection.data_received(request("now"))
    assert [other.calls for other in others] == [["write"]] * TOGETHER


async def test_an_answer_is_written_before_its_connection_closes() -> None:
    """What waits for the end of the turn is not lost by what ends the connection first."""
    lane, connection, wire = _connected(ScriptedDesk(), ManualClock())
    connection.data_received(request("now"))
    lane.closing = True
    connection.wind_up()
    assert wire.calls == ["write", "close"]


async def test_nothing_is_begun_for_a_caller_who_has_left() -> None:
    """A call that is pipelined behind a held one does not begin once the connection closes."""
    desk = ScriptedDesk()
    _, connection, wire = _connected(desk, ManualClock())
    connection.data_received(request("hold") + request("now"))
    wire.close()  # the end of input; the transport still has something to write
    desk.let_go()
    await asyncio.sleep(0)
    assert len(desk.taken) == 1


async def test_a_connection_that_comes_while_the_lane_closes_is_closed() -> None:
    """It was accepted just before the port was closed."""
    lane, _, _ = _connected(ScriptedDesk(), ManualClock())
    lane.closing = True
    wire = Unread()
    lane().connection_made(wire)
    assert wire.calls == ["close"]


async def test_a_body_in_many_reads_is_the_one_that_was_sent() -> None:
    """Whatever is behind it."""
    desk = ScriptedDesk()
    _, connection, _ = _connected(desk, ManualClock())
    sent = request("now", "x" * 5000) + request("now", "y" * 5000)
    for at in range(0, len(sent), 700):
        connection.data_received(sent[at : at + 700])
    said = [len(body) for body in desk.taken]
    assert b"".join(bytes(body) for body in desk.taken).count(b"x") == 5000
    assert said == [5024, 5024]
