"""The slot gate: who gets slots, how they are shared, and that none is ever lost or made up."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.core.slot_gate import OFFER_TTL_S, Claimant, SlotGate

NOW_S = 100.0


def _gate(limit: int, links: int = 2) -> tuple[SlotGate, list[Claimant]]:
    gate = SlotGate(limit)
    claimants = [Claimant() for _ in range(links)]
    for claimant in claimants:
        gate.join(claimant)
    return gate, claimants


def test_without_contention_every_link_is_told_all_free_slots() -> None:
    """One balancer that waits, or none, leaves the slots to whoever comes first."""
    gate, (a, b) = _gate(3)
    gate.tell(a, 5, 1, NOW_S)
    gate.take(b, NOW_S)
    assert (gate.available(a), gate.available(b)) == (2, 2)


def test_a_full_worker_refuses() -> None:
    """A dispatch from a link never queues: no slot, no task."""
    gate, (a, _) = _gate(1)
    assert gate.refusal(a) is None
    gate.take(a, NOW_S)
    assert gate.refusal(a) == "no_slot"
    gate.release(NOW_S)
    assert gate.refusal(a) is None


def test_maintenance_refuses_links_and_lets_the_own_queue_finish() -> None:
    """Tasks that waited here before `/off` still get their slots (fault 6)."""
    gate, (a, _) = _gate(2)
    assert (gate.maintenance, gate.open) == (False, True)
    gate.set_maintenance(True, NOW_S)
    assert (gate.maintenance, gate.open) == (True, False)
    assert gate.refusal(a) == "maintenance"
    assert gate.available(a) == 0
    assert gate.total_available() == 0
    assert gate.own_may_take()


def test_a_service_that_is_down_closes_the_worker_for_everybody() -> None:
    """While a service is down nobody gets a slot, the own queue included."""
    gate, (a, _) = _gate(2)
    gate.set_services_down(True, NOW_S)
    assert gate.refusal(a) == "no_slot"
    assert gate.available(a) == 0
    assert not gate.own_may_take()


def test_a_full_outbox_closes_the_worker_for_links_only() -> None:
    """Results that nobody acknowledges stop new dispatches, not direct tasks."""
    gate, (a, _) = _gate(2)
    gate.set_full_outbox(True, NOW_S)
    assert gate.refusal(a) == "no_slot"
    assert gate.available(a) == 0
    assert gate.own_may_take()


def test_under_contention_each_slot_is_offered_to_one() -> None:
    """Two that wait share the free slots; the sum of the offers is what is free."""
    gate, (a, b) = _gate(4)
    gate.tell(a, 9, 1, NOW_S)
    gate.tell(b, 9, 1, NOW_S)
    assert gate.contended
    assert (gate.available(a), gate.available(b)) == (2, 2)


def test_the_better_priority_is_offered_first() -> None:
    """Urgent work of one balancer goes before the rest of another, as far as its demand goes."""
    gate, (a, b) = _gate(3)
    gate.tell(a, 9, 5, NOW_S)
    gate.tell(b, 2, 1, NOW_S)
    assert (gate.available(a), gate.available(b)) == (1, 2)


def test_an_offered_slot_is_refused_to_others() -> None:
    """Whoever has no offer waits while all free slots are offered."""
    gate, (a, b, c) = _gate(1, links=3)
    gate.tell(a, 1, 1, NOW_S)
    gate.tell(b, 1, 2, NOW_S)
    assert gate.refusal(a) is None
    assert gate.refusal(b) == "no_slot"
    assert gate.refusal(c) == "no_slot"
    assert not gate.own_may_take()


def test_a_lapsed_offer_goes_to_the_next_claimant() -> None:
    """Who does not use a slot in time comes last, even with the better priority."""
    gate, (a, b) = _gate(1)
    gate.tell(a, 1, 1, NOW_S)
    gate.tell(b, 1, 7, NOW_S)
    assert (gate.available(a), gate.available(b)) == (1, 0)
    assert not gate.tick(NOW_S + OFFER_TTL_S / 2)
    assert gate.tick(NOW_S + OFFER_TTL_S)
    assert (gate.available(a), gate.available(b)) == (0, 1)


def test_a_silent_claimant_keeps_no_slot_from_the_others() -> None:
    """With one that never answers, the other gets every second turn at least."""
    gate, (silent, busy) = _gate(1)
    gate.tell(silent, 5, 1, NOW_S)
    gate.tell(busy, 5, 2, NOW_S)
    served = 0
    for turn in range(1, 11):
        gate.tick(NOW_S + turn * OFFER_TTL_S)
        if gate.available(busy):
            gate.take(busy, NOW_S)
            gate.release(NOW_S + turn * OFFER_TTL_S)
            served += 1
    assert served >= 4


def test_equals_take_turns() -> None:
    """Of equal priority, the one served longest ago is next."""
    gate, (a, b) = _gate(1)
    gate.tell(a, 9, 1, NOW_S)
    gate.tell(b, 9, 1, NOW_S)
    order: list[str] = []
    for _ in range(6):
        name, who = ("a", a) if gate.available(a) else ("b", b)
        order.append(name)
        gate.take(who, NOW_S)
        gate.release(NOW_S)
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_the_own_queue_competes_like_a_link() -> None:
    """A link that waits and the own queue share, so neither starves."""
    gate, (a, _) = _gate(2)
    gate.tell(gate.own, 5, 1, NOW_S)
    gate.tell(a, 5, 1, NOW_S)
    assert gate.available(a) == 1
    assert gate.own_may_take()
    gate.take(gate.own, NOW_S)
    assert not gate.own_may_take()


def test_maintenance_withdraws_offers() -> None:
    """When links may take nothing, their offers do not hold up the own queue."""
    gate, (a, b) = _gate(1)
    gate.tell(a, 1, 1, NOW_S)
    gate.tell(b, 1, 1, NOW_S)
    gate.set_maintenance(True, NOW_S)
    assert not gate.contended
    assert gate.own_may_take()


def test_a_link_that_leaves_gives_its_offers_up() -> None:
    """What was offered on a closed link is free for the others at once."""
    gate, (a, b) = _gate(1)
    gate.tell(a, 1, 1, NOW_S)
    gate.tell(b, 1, 1, NOW_S)
    gate.leave(a, NOW_S)
    gate.leave(a, NOW_S)
    assert gate.available(b) == 1


def test_a_link_that_comes_back_waits_for_nothing_until_it_says_so() -> None:
    """What it wanted before it left is forgotten: the others do not share with it."""
    gate, (a, b) = _gate(2)
    gate.tell(a, 1, 1, NOW_S)
    gate.leave(a, NOW_S)
    gate.join(a)
    gate.tell(b, 2, 1, NOW_S)
    assert not gate.contended


def test_a_smaller_demand_returns_offers() -> None:
    """A balancer whose tasks went elsewhere does not sit on offers."""
    gate, (a, b) = _gate(4)
    gate.tell(a, 4, 1, NOW_S)
    gate.tell(b, 4, 1, NOW_S)
    gate.tell(a, 1, 1, NOW_S)
    assert (gate.available(a), gate.available(b)) == (1, 3)


def test_stuck_slots_are_used_slots() -> None:
    """A stuck slot is held until its code ends; all stuck is exhausted."""
    gate, (a, _) = _gate(2)
    gate.take(a, NOW_S)
    gate.take(a, NOW_S)
    gate.mark_stuck()
    assert (gate.used, gate.stuck, gate.exhausted) == (2, 1, False)
    gate.mark_stuck()
    assert gate.exhausted
    gate.release(NOW_S, stuck=True)
    assert (gate.used, gate.stuck, gate.exhausted) == (1, 1, False)


def test_bugs_of_ours_are_noticed() -> None:
    """More slots taken, released or stuck than there are is an assertion, not a wrong number."""
    gate, (a, _) = _gate(1)
    with pytest.raises(AssertionError, match="nobody holds"):
        gate.release(NOW_S)
    with pytest.raises(AssertionError, match="stuck than held"):
        gate.mark_stuck()
    gate.take(a, NOW_S)
    with pytest.raises(AssertionError, match="not there"):
        gate.take(a, NOW_S)


class GateMachine(RuleBasedStateMachine):
    """Any order of claims, ends, offers and closings."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.links = _gate(3, links=3)
        self.now_s = NOW_S
        self.running = 0
        self.stuck = 0

    @rule(link=st.integers(0, 2), count=st.integers(0, 5), priority=st.sampled_from([1, 2, 9.5]))
    def tell(self, link: int, count: int, priority: float) -> None:
        self.gate.tell(self.links[link], count, priority, self.now_s)

    @rule(count=st.integers(0, 5))
    def own_waits(self, count: int) -> None:
        self.gate.tell(self.gate.own, count, 1, self.now_s)

    @rule(link=st.integers(0, 2))
    def dispatch(self, link: int) -> None:
        claimant = self.links[link]
        offered = self.gate.available(claimant)
        code = self.gate.refusal(claimant)
        assert not (offered and code), "a slot that was reported is refused"
        if code is None:
            self.gate.take(claimant, self.now_s)
            self.running += 1

    @rule()
    def own_starts(self) -> None:
        if self.gate.own_may_take():
            self.gate.take(self.gate.own, self.now_s)
            self.running += 1

    @precondition(lambda self: self.running > self.stuck)
    @rule()
    def ends(self) -> None:
        self.gate.release(self.now_s)
        self.running -= 1

    @precondition(lambda self: self.running > self.stuck)
    @rule()
    def gets_stuck(self) -> None:
        self.gate.mark_stuck()
        self.stuck += 1

    @precondition(lambda self: self.stuck > 0)
    @rule()
    def stuck_ends(self) -> None:
        self.gate.release(self.now_s, stuck=True)
        self.running -= 1
        self.stuck -= 1

    @rule(on=st.booleans(), which=st.integers(0, 2))
    def close(self, on: bool, which: int) -> None:
        close = (
            self.gate.set_maintenance,
            self.gate.set_services_down,
            self.gate.set_full_outbox,
        )[which]
        close(on, self.now_s)

    @rule(link=st.integers(0, 2))
    def relink(self, link: int) -> None:
        self.gate.leave(self.links[link], self.now_s)
        self.links[link] = Claimant()
        self.gate.join(self.links[link])

    @rule(seconds=st.sampled_from([0.01, OFFER_TTL_S, 1.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.gate.tick(self.now_s)

    @invariant()
    def counts_code_that_runs(self) -> None:
        assert 0 <= self.gate.used == self.running <= self.gate.limit
        assert self.gate.stuck == self.stuck <= self.running

    @invariant()
    def offers_never_exceed_what_is_free(self) -> None:
        claimants = [self.gate.own, *self.links]
        assert sum(len(each.offers) for each in claimants) <= self.gate.free
        assert all(len(each.offers) <= each.demand for each in claimants)

    @invariant()
    def no_free_slot_lies_idle_while_two_wait(self) -> None:
        if not self.gate.contended:
            return
        claimants = [self.gate.own, *self.links]
        offered = sum(len(each.offers) for each in claimants)
        unmet = any(len(each.offers) < each.demand for each in claimants)
        assert offered == self.gate.free or not unmet


TestGateMachine = GateMachine.TestCase
