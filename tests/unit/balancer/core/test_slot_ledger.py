"""The ledger: only a report frees a slot, and never one that it could not have seen."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.slot_ledger import MAX_SLOTS, HttpSlots, SlotLedger
from shared.slot_report import SlotReport


def opened(available: int, limit: int = 10) -> SlotLedger:
    """Return the ledger of a new link."""
    ledger = SlotLedger()
    ledger.reopen(SlotReport(available=available, limit=limit))
    return ledger


@pytest.mark.parametrize("ledger", [SlotLedger(), HttpSlots()])
def test_before_the_first_report_a_worker_has_nothing(ledger: SlotLedger) -> None:
    """No slot, none used, not in maintenance; the report alone decides what it has then."""
    assert (ledger.free, ledger.limit, ledger.used, ledger.maintenance) == (0, 0, 0, False)
    ledger.report(SlotReport(available=2, limit=2))
    assert ledger.free == 2


def test_a_dispatch_takes_a_slot_and_its_end_frees_none() -> None:
    """The worker counts its code until it has really ended; only its report says so."""
    ledger = opened(2)
    ledger.take()
    ledger.ended()
    assert ledger.free == 1


def test_a_second_dispatch_before_any_report_never_exceeds_what_was_reported() -> None:
    """Two free slots are two dispatches."""
    ledger = opened(2)
    ledger.take()
    ledger.take()
    assert ledger.free == 0


@pytest.mark.parametrize(
    ("report", "free"),
    [
        (SlotReport(seen=0, available=2, limit=10), 0),  # cut before it read either dispatch
        (SlotReport(seen=1, available=1, limit=10), 0),  # has read one: the other is to come
        (SlotReport(seen=2, available=0, limit=10), 0),  # has read both, runs both
        (SlotReport(seen=2, available=1, limit=10), 1),  # one has ended
        (SlotReport(seen=2, available=5, limit=10), 5),  # more slots than before
        (SlotReport(seen=2, available=5, limit=10, maintenance=True), 0),
        (SlotReport(seen=2, available=-5, limit=10), 0),
        (SlotReport(seen=2, available=5, limit=3), 3),  # more than it has
        (SlotReport(seen=2, available=5, limit=-1), 0),
        (SlotReport(seen=99, available=1, limit=10), 1),  # more than was sent is all that was sent
        (SlotReport(seen=2, available=10**9, limit=10**9), MAX_SLOTS),
    ],
)
def test_a_report_counts_against_what_was_sent_after_it(report: SlotReport, free: int) -> None:
    """free = available - (sent - seen), clamped to what is possible; two were sent."""
    ledger = opened(2)
    ledger.take()
    ledger.take()
    ledger.report(report)
    assert ledger.free == free


def test_a_stale_report_frees_nothing() -> None:
    """One that has seen less than another before it is ignored, whatever it says."""
    ledger = opened(1)
    ledger.take()
    ledger.report(SlotReport(seen=1, available=0, limit=10, used=1))
    ledger.report(SlotReport(seen=0, available=9, limit=99, used=7))
    assert (ledger.free, ledger.limit, ledger.used) == (0, 10, 1)


def test_seeing_more_than_was_sent_does_not_free_later_dispatches() -> None:
    """A broken count is clamped when it is told, not believed when it comes true."""
    ledger = opened(2)
    ledger.report(SlotReport(seen=50, available=2, limit=10))
    ledger.take()
    assert ledger.free == 1


def test_a_new_link_counts_from_zero() -> None:
    """Dispatches of the old one are in the worker's first report or never arrived."""
    ledger = opened(3)
    ledger.take()
    ledger.load()
    ledger.report(SlotReport(seen=1, available=2, limit=10))
    ledger.reopen(SlotReport(available=2, limit=4, used=2, maintenance=False))
    assert (ledger.free, ledger.limit, ledger.used, ledger.maintenance) == (2, 4, 2, False)
    ledger.report(SlotReport(seen=0, available=1, limit=4, maintenance=True))
    assert ledger.maintenance


def test_a_loading_dispatch_holds_its_slot_without_a_number() -> None:
    """A report that has seen every number has not seen it."""
    ledger = opened(2)
    ledger.load()
    ledger.report(SlotReport(seen=0, available=2, limit=10))
    assert ledger.free == 1
    ledger.loaded()
    assert ledger.free == 1
    ledger.report(SlotReport(seen=1, available=2, limit=10))
    assert ledger.free == 2


def test_what_is_not_sent_gives_its_slot_back() -> None:
    """A loading dispatch that is not wanted, and one that got no number after all."""
    ledger = opened(2)
    ledger.load()
    ledger.unload()
    ledger.take()
    ledger.untake()
    assert ledger.free == 2


def test_a_shut_worker_has_no_slot_until_it_reports() -> None:
    """Something could not be sent, so nothing is tried until it is heard."""
    ledger = opened(2)
    ledger.shut()
    assert ledger.free == 0
    ledger.report(SlotReport(available=2, limit=10))
    assert ledger.free == 2


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True), st.integers(0, 5))
def test_the_order_of_reports_is_irrelevant(seen: list[int], sent: int) -> None:
    """Whatever order reports arrive in, the one that saw most decides."""
    reports = [SlotReport(seen=n, available=(3 * n) % 5, limit=9) for n in seen]
    ends: set[int] = set()
    for order in permutations(reports):
        ledger = opened(5)
        for _ in range(sent):
            ledger.take()
        for report in order:
            ledger.report(report)
        ends.add(ledger.free)
    # Two reports that claim to have seen more than was sent cannot be told apart by number.
    if sum(n >= sent for n in seen) <= 1:
        assert len(ends) == 1


@given(st.data(), st.integers(1, 5))
def test_an_honest_worker_is_never_over_its_limit(data: st.DataObject, limit: int) -> None:
    """The model: a worker that reads, ends and reports at any time, and a wire that delays."""
    ledger = opened(limit, limit)
    wire, running, read = 0, 0, 0
    reports: list[SlotReport] = []
    for step in data.draw(st.lists(st.sampled_from("drehx"), max_size=60)):
        if step == "d" and ledger.free > 0:
            ledger.take()
            wire += 1
        elif step == "r" and wire:
            wire, running, read = wire - 1, running + 1, read + 1
        elif step == "e" and running:
            running -= 1
        elif step == "h":
            reports.append(SlotReport(seen=read, available=limit - running, limit=limit))
        elif step == "x" and reports:
            ledger.report(reports.pop(0))
        assert wire + running <= limit
        assert 0 <= ledger.free <= limit


def http(available: int, limit: int, used: int = 0, *, maintenance: bool = False) -> HttpSlots:
    """Return the ledger of a plain HTTP worker."""
    slots = HttpSlots()
    slots.reopen(SlotReport(available=available, limit=limit, used=used, maintenance=maintenance))
    return slots


@pytest.mark.parametrize(
    ("slots", "free"),
    [
        (http(4, 4), 4),
        (http(1, 4, 3), 1),
        (http(0, 4, 4), 0),
        (http(0, 4, 6), 0),
        (http(4, 4, maintenance=True), 0),
        (http(0, 4, 0), 0),  # none available although none is used: a service is down
    ],
)
def test_an_http_worker_has_what_is_not_used(slots: HttpSlots, free: int) -> None:
    """free = limit - used, nothing in maintenance."""
    assert slots.free == free


def test_calls_in_flight_count_until_they_end() -> None:
    """free = limit - max(in flight, used): its own counting may lag behind ours."""
    slots = http(3, 3)
    slots.take()
    slots.load()
    assert slots.free == 1
    slots.loaded()
    slots.report(SlotReport(available=3, limit=3))
    assert slots.free == 1
    slots.ended()
    assert slots.free == 2
    slots.untake()
    assert slots.free == 3


def test_a_new_slot_socket_leaves_the_calls_alone() -> None:
    """They have connections of their own."""
    slots = http(2, 2)
    slots.load()
    slots.reopen(SlotReport(available=2, limit=2))
    assert slots.free == 1
    slots.unload()
    assert slots.free == 2


def test_a_shut_http_worker_has_no_slot_until_it_reports() -> None:
    """As on a link."""
    slots = http(2, 2)
    slots.shut()
    assert slots.free == 0
    slots.report(SlotReport(available=2, limit=2))
    assert slots.free == 2
