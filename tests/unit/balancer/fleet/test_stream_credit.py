"""Credit of streams on a link: told in steps, and complete whenever a worker could wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from balancer.fleet.link import CREDIT_STEP, STREAM_CREDIT, LinkPort
from balancer.fleet.roster import entry_of
from balancer.fleet.worker import FleetWorker
from shared.ids import Token
from shared.protocol.balancer_link import BalancerLink
from shared.protocol.messages import Finished
from tests.fakes.engine_rig import EngineRig
from tests.fakes.link_pair import FakeWire

if TYPE_CHECKING:
    from balancer.fleet.ports import Keeper

A = Token("a")
B = Token("b")


class _Told(BalancerLink):
    """A machine that notes the credit it is to send."""

    def __init__(self, port: LinkPort, told: list[tuple[str, int]]) -> None:
        super().__init__(port, FakeWire(), balancer_id="b", boot_id="boot")
        self._told = told

    def credit(self, token: str, size: int) -> None:
        """Note it."""
        self._told.append((token, size))


async def make() -> tuple[LinkPort, list[tuple[str, int]]]:
    """Return a port, and the credit that its machine was given."""
    told: list[tuple[str, int]] = []
    rig = EngineRig()
    await rig.start()
    port = LinkPort(
        FleetWorker(entry_of("http://w:3"), 0), rig.engine, rig.clock,
        machine=lambda port: _Told(port, told), welcome=lambda port, welcome: None,
        opened=lambda port: None, keeper=cast("Keeper", None),
    )  # fmt: skip
    return port, told


async def test_small_pieces_share_a_message() -> None:
    """Credit waits until a step of it is due, each stream for itself, and none of it is lost."""
    port, told = await make()
    for _ in range(3):
        port.credit(A, CREDIT_STEP // 2)
        port.credit(B, 1)
    assert told == [(A, CREDIT_STEP)]
    port.credit(A, CREDIT_STEP)
    port.credit(B, CREDIT_STEP)
    assert told[1:] == [(A, CREDIT_STEP + CREDIT_STEP // 2), (B, CREDIT_STEP + 3)]


async def test_the_end_of_an_attempt_ends_its_credit() -> None:
    """What is due to a stream that has ended is forgotten with it."""
    port, told = await make()
    port.credit(A, CREDIT_STEP - 1)
    port.finished(Finished(A, "t", "succeeded"), None)
    port.credit(A, 1)
    assert told == []


def test_a_worker_never_waits_for_credit_that_is_not_told() -> None:
    """When all it sent was read, what is not told yet is less than what opens its window."""
    assert CREDIT_STEP < STREAM_CREDIT
