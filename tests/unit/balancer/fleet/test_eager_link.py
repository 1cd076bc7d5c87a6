"""Dispatches of a burst leave while it is still being read, not at the end of the loop turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from balancer.core.live_task import LiveTask
from balancer.fleet.link import EAGER, LinkPort
from balancer.fleet.roster import entry_of
from balancer.fleet.worker import FleetWorker
from shared.ids import TaskId, Token
from shared.protocol.balancer_link import BalancerLink
from shared.task import TaskRequest
from tests.fakes.engine_rig import EngineRig

if TYPE_CHECKING:
    from balancer.fleet.ports import Keeper
    from shared.edge.link_socket import LinkSocket
    from shared.task import Outcome, Piece


class Sent:
    """A socket that notes how many dispatches each frame has."""

    full = False

    def __init__(self) -> None:
        self.counts: list[int] = []

    def send(self, data: bytes) -> None:
        """Note it."""
        self.counts.append(data[0])


class Counting(BalancerLink):
    """A machine that is up, and whose frames only count their dispatches."""

    waiting = 0

    def dispatch(self, **_: object) -> int:
        """Queue one."""
        self.waiting += 1
        self._wake()
        return self.waiting

    @property
    def ready(self) -> int:
        """Return how many wait."""
        return self.waiting

    def flush(self) -> bytes | None:
        """Return a frame with all of them."""
        frame, self.waiting = bytes([self.waiting]), 0
        self._awake = frame != b"\0"
        return frame if self._awake else None


class Nobody:
    """A sink that nobody reads."""

    def piece(self, piece: Piece) -> None:
        """Drop it."""

    def finished(self, outcome: Outcome) -> None:
        """Drop it."""


def task(number: int) -> LiveTask:
    """Return a task with an attempt."""
    request = TaskRequest(function="f", contract=1, group="g")
    made = LiveTask(TaskId(f"t{number}"), ("g", 1, "f"), request, Nobody(), created_s=0.0)
    made.token = Token(f"k{number}")
    return made


async def test_a_burst_leaves_in_parts_and_the_rest_at_the_end_of_the_turn() -> None:
    """So the worker begins while the balancer goes on reading."""
    rig, socket = EngineRig(), Sent()
    await rig.start()
    port = LinkPort(
        FleetWorker(entry_of("http://w:3"), 0), rig.engine, rig.clock,
        machine=lambda port: Counting(port, port, balancer_id="b", boot_id="boot"),
        welcome=lambda port, welcome: None, opened=lambda port: None, keeper=cast("Keeper", None),
    )  # fmt: skip
    port._socket = cast("LinkSocket", socket)  # pyright: ignore[reportPrivateUsage]  # no real one
    port.open = True
    for number in range(2 * EAGER + 3):
        assert port.dispatch(task(number), b"{}", None)
    assert socket.counts == [EAGER, EAGER]
    await asyncio.sleep(0)
    assert socket.counts == [EAGER, EAGER, 3]
