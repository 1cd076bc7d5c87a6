"""A worker as the scheduler holds it."""

from __future__ import annotations

import pytest

from balancer.core.events import HTTP, LINK, WorkerFacts
from balancer.core.live_worker import LiveWorker
from balancer.core.slot_ledger import HttpSlots, SlotLedger
from tests.fakes.scheduler_rig import A, B, Rig

RIG = Rig()


@pytest.mark.parametrize(("kind", "ledger"), [(LINK, SlotLedger), (HTTP, HttpSlots)])
def test_its_kind_decides_how_its_slots_are_counted(kind: str, ledger: type[SlotLedger]) -> None:
    """By numbers on a link, by calls in flight otherwise."""
    assert type(LiveWorker(RIG.facts(kind=kind)).ledger) is ledger


@pytest.mark.parametrize(
    ("facts", "same"),
    [
        (RIG.facts(), True),
        (RIG.facts(boot="b2", weight=3.0), True),
        (RIG.facts(group="h"), False),
        (RIG.facts(contract=2), False),
        (RIG.facts(functions=("f", "g"), eligible=("f",)), False),
        (RIG.facts(eligible=()), False),
        (RIG.facts(order=9), False),
        (RIG.facts(retries=1), False),
    ],
)
def test_what_it_hosts_and_where_it_is_listed_make_its_place(
    facts: WorkerFacts, same: bool
) -> None:
    """A new boot or weight leaves it where it is."""
    assert LiveWorker(RIG.facts()).same_place(facts) is same


def test_no_worker_is_before_another_by_itself() -> None:
    """Only a stale rank can tie with a valid one, and then either order will do."""
    a, b = LiveWorker(RIG.facts(A)), LiveWorker(RIG.facts(B))
    assert not a < b
    assert not b < a
