"""Who gets the worker's slots: the links, or the worker's own queue; and when nobody does.

A slot is taken by `take` and comes back by `release`, which the engine calls only when the code has
really ended. So `used` counts code that runs, code that outlived its time-out (`stuck`) included.

As long as at most one claimant waits for slots, every link is told all the free ones: whoever has a
task first takes one, and a race costs a refusal. When two or more wait (contention), each free slot
is offered to one of them, so that N balancers do not race for it: best priority first, among equals
the one served longest ago. An offer that is not used within its time to live goes to the next; who
let one lapse comes last in the round that follows, so that a claimant that does not answer cannot
keep a slot from the others.

    free = limit − used        0 ≤ used ≤ limit        Σ offers ≤ free
"""

from __future__ import annotations

OFFER_TTL_S = (
    0.25  # a balancer answers an offer within a round trip; a quarter second is a slow one
)


class Claimant:
    """One who competes for slots: a link, or the worker's own queue.

    Attributes:
        demand: tasks that wait there for a slot here.
        priority: the best among them; 1 is first.
        offers: times at which its offers lapse, oldest first; changed by the gate only.
    """

    __slots__ = ("demand", "lapsed", "offers", "priority", "served")

    def __init__(self) -> None:
        self.demand = 0
        self.priority: float = 1
        self.offers: list[float] = []
        self.served = 0  # the gate's count at the last offer; the smallest waits longest
        self.lapsed = False  # it did not use an offer in time


class SlotGate:
    """Counts the slots and decides who may take one.

    Args:
        limit: slots of this worker, at least 1.
        offer_ttl_s: how long an offer holds under contention.

    Attributes:
        own: the worker's own queue, as a claimant.
        used: slots held by code.
        stuck: those of them whose code was told to end and did not.
    """

    __slots__ = (
        "_contended",
        "_full_outbox",
        "_links",
        "_maintenance",
        "_offer_ttl_s",
        "_services_down",
        "_turn",
        "limit",
        "own",
        "stuck",
        "used",
    )

    def __init__(self, limit: int, *, offer_ttl_s: float = OFFER_TTL_S) -> None:
        self.limit = limit
        self.used = 0
        self.stuck = 0
        self.own = Claimant()
        self._links: list[Claimant] = []
        self._maintenance = False
        self._services_down = False
        self._full_outbox = False
        self._offer_ttl_s = offer_ttl_s
        self._contended = False
        self._turn = 0

    @property
    def free(self) -> int:
        """Return the slots that no code holds."""
        return self.limit - self.used

    @property
    def exhausted(self) -> bool:
        """Tell whether every slot is held by code that cannot be ended."""
        return self.stuck >= self.limit

    @property
    def contended(self) -> bool:
        """Tell whether slots are offered one by one."""
        return self._contended

    @property
    def maintenance(self) -> bool:
        """Tell whether the worker takes no new task; its own queue is worked off all the same."""
        return self._maintenance

    @property
    def open(self) -> bool:
        """Tell whether anybody may get a new task into a slot."""
        return not (self._maintenance or self._services_down)

    # Who competes

    def join(self, claimant: Claimant) -> None:
        """Let a link compete."""
        self._links.append(claimant)

    def leave(self, claimant: Claimant, now_s: float) -> None:
        """Forget a link; what was offered to it goes to the others. Unknown ones are ignored."""
        if claimant in self._links:
            self._links.remove(claimant)
            claimant.offers.clear()
            claimant.demand = 0
            self._share(now_s)

    def tell(self, claimant: Claimant, demand: int, priority: float, now_s: float) -> None:
        """Take note of how many tasks wait at a claimant, and how urgent the best one is."""
        if demand == claimant.demand and priority == claimant.priority:
            return
        claimant.demand = max(0, demand)
        claimant.priority = priority
        del claimant.offers[claimant.demand :]
        self._share(now_s)

    # When nobody gets one

    def set_maintenance(self, on: bool, now_s: float) -> None:
        """Take nothing new, or take tasks again."""
        self._maintenance = on
        self._share(now_s)

    def set_services_down(self, down: bool, now_s: float) -> None:
        """Give no slot to anybody while a service is down."""
        self._services_down = down
        self._share(now_s)

    def set_full_outbox(self, full: bool, now_s: float) -> None:
        """Give links no slot while too many results wait to be acknowledged."""
        self._full_outbox = full
        self._share(now_s)

    # Slots

    def refusal(self, claimant: Claimant) -> str | None:
        """Return why a link may not take a slot now (an error code); None when it may."""
        if self._maintenance:
            return "maintenance"
        if self._services_down or self._full_outbox or self.used >= self.limit:
            return "no_slot"
        if self._contended and self._reachable(claimant) <= 0:
            return "no_slot"
        return None

    def own_may_take(self) -> bool:
        """Tell whether the worker's own queue may take a slot; in maintenance too, it must drain."""
        return not self._services_down and self._reachable(self.own) > 0

    def take(self, claimant: Claimant, now_s: float) -> None:
        """Take a slot, after `refusal` or `own_may_take` said that it is free for this claimant.

        What else is free is offered again at once: the claimant may want more, and says so only
        when its demand changes.
        """
        assert self.used < self.limit, "took a slot that is not there"
        self.used += 1
        if claimant.offers:
            claimant.offers.pop(0)
        if self._contended:
            self._share(now_s)

    def release(self, now_s: float, *, stuck: bool = False) -> None:
        """Give a slot back: its code has ended.

        Args:
            now_s: the time.
            stuck: the slot had been counted by `mark_stuck`.
        """
        assert self.used > 0, "released a slot that nobody holds"
        self.used -= 1
        if stuck:
            self.stuck -= 1
        if self._contended:
            self._share(now_s)

    def mark_stuck(self) -> None:
        """Count a held slot as stuck: its code was told to end and did not."""
        assert self.stuck < self.used, "more slots stuck than held"
        self.stuck += 1

    def available(self, claimant: Claimant) -> int:
        """Return the slots a link may take now, as its report says."""
        if self._maintenance or self._services_down or self._full_outbox:
            return 0
        return len(claimant.offers) if self._contended else self.limit - self.used

    def total_available(self) -> int:
        """Return the free slots as /health shows them: 0 in maintenance or while a service is down."""
        return self.limit - self.used if self.open else 0

    # Sharing

    def tick(self, now_s: float) -> bool:
        """Withdraw the offers that lapsed and give them to others; tell whether any did."""
        if not self._contended:
            return False
        any_lapsed = False
        for claimant in (self.own, *self._links):
            while claimant.offers and claimant.offers[0] <= now_s:
                claimant.offers.pop(0)
                claimant.lapsed = any_lapsed = True
        if any_lapsed:
            self._share(now_s)
        return any_lapsed

    def _share(self, now_s: float) -> None:
        """Offer the free slots one by one while several claimants wait; withdraw all when not."""
        waiting = self._waiting()
        self._contended = len(waiting) > 1
        if not self._contended:
            for claimant in (self.own, *self._links):
                claimant.offers.clear()
            return
        unoffered = self.free - sum(len(each.offers) for each in waiting)
        chosen = [
            _offer(waiting, self._next_turn(), now_s + self._offer_ttl_s) for _ in range(unoffered)
        ]
        if any(each is not None and not each.lapsed for each in chosen):
            for claimant in waiting:
                claimant.lapsed = False

    def _waiting(self) -> list[Claimant]:
        """Return the claimants that may get a slot and have use for one."""
        if self._services_down:
            return []
        closed = self._maintenance or self._full_outbox
        candidates = [self.own] if closed else [self.own, *self._links]
        return [each for each in candidates if each.demand > 0]

    def _reachable(self, claimant: Claimant) -> int:
        """Return the free slots that are not offered to somebody else."""
        free = self.limit - self.used
        if self._contended:
            others = sum(
                len(each.offers) for each in (self.own, *self._links) if each is not claimant
            )
            return free - others
        return free

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn


def _offer(waiting: list[Claimant], turn: int, until_s: float) -> Claimant | None:
    """Offer one slot to the best claimant that wants more; return it, None when nobody does."""
    wanting = [each for each in waiting if len(each.offers) < each.demand]
    if not wanting:
        return None
    best = min(wanting, key=_rank)
    best.served = turn
    best.offers.append(until_s)
    return best


def _rank(claimant: Claimant) -> tuple[bool, float, int]:
    return (claimant.lapsed, claimant.priority, claimant.served)
