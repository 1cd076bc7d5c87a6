"""Placement: the total order of workers and of lanes, and heaps that do not grow with what is stale."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.lane import Lane
from balancer.core.live_worker import LiveWorker
from balancer.core.placement import SLACK, IdleWorkers, LaneHeads
from balancer.core.pool import Pool
from shared.ids import WorkerId
from shared.slot_report import SlotReport
from tests.fakes.scheduler_rig import Rig

RIG = Rig()


def worker(
    name: str, free: int = 1, *, weight: float = 1.0, order: int = 0, last: int = 0
) -> LiveWorker:
    """Return a worker that is up and has free slots."""
    made = LiveWorker(RIG.facts(WorkerId(name), weight=weight, order=order))
    made.up = True
    made.last = last
    made.ledger.reopen(SlotReport(available=free, limit=100))
    return made


def idle(*workers: LiveWorker) -> IdleWorkers:
    """Return the ranking of these."""
    ranking = IdleWorkers({each.id: each for each in workers})
    for each in workers:
        ranking.update(each)
    return ranking


def best(ranking: IdleWorkers) -> str | None:
    """Return who is best."""
    rank = ranking.best()
    return None if rank is None else rank[4].id


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([worker("a", 1), worker("b", 3), worker("c", 2)], "b"),  # most free slots
        ([worker("a", 3), worker("b", 2, weight=2.0)], "b"),  # 2 × 2 beats 3 × 1
        ([worker("a", 2, last=9), worker("b", 2, last=4)], "b"),  # dispatched to longest ago
        ([worker("a", 2, order=7), worker("b", 2, order=3)], "b"),  # workers.json order
        ([worker("b", 2), worker("a", 2)], "a"),  # id, so that nothing is left to chance
        ([worker("a", 0), worker("b", 1)], "b"),  # no slot, no task
        ([worker("a", 0)], None),
        ([], None),
    ],
)
def test_the_order_of_workers_is_total(candidates: list[LiveWorker], chosen: str | None) -> None:
    """The order in which they are looked at does not matter."""
    for order in permutations(candidates):
        assert best(idle(*order)) == chosen


@pytest.mark.parametrize(("weight", "counts"), [(0.0, 0.001), (float("nan"), 0.001), (1e9, 1000.0)])
def test_a_weight_is_kept_within_reason(weight: float, counts: float) -> None:
    """No worker starves for ever or swallows everything."""
    assert worker("a", weight=weight).weight == counts


def test_who_cannot_be_reached_is_not_idle() -> None:
    """Down, or silent."""
    down, silent, well = worker("a", 9), worker("b", 8), worker("c", 1)
    down.up = False
    silent.silent = True
    assert best(idle(down, silent, well)) == "c"


def test_a_change_moves_a_worker() -> None:
    """Up, down, out, whether it was the best or not."""
    a, b = worker("a", 3), worker("b", 2)
    ranking = idle(a, b)
    b.ledger.report(SlotReport(available=5, limit=9))
    ranking.update(b)
    assert best(ranking) == "b"
    b.ledger.report(SlotReport(available=1, limit=9))
    ranking.update(b)
    assert best(ranking) == "a"
    b.ledger.report(SlotReport(available=0, limit=9))
    ranking.update(b)
    a.ledger.report(SlotReport(available=0, limit=9))
    ranking.update(a)
    assert best(ranking) is None


def test_a_worker_that_leaves_is_not_chosen() -> None:
    """Even when another life of the same worker ranks the same."""
    old, new = worker("a"), worker("a")
    ranking = idle(old)
    ranking.leave(old)
    ranking.update(new)
    rank = ranking.best()
    assert rank is not None
    assert rank[4] is new


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=400))
def test_the_best_is_the_best_after_any_changes(changes: list[tuple[int, int]]) -> None:
    """The model looks at all of them, each time."""
    workers = [worker(name, 1, order=n) for n, name in enumerate("abcd")]
    ranking = idle(*workers)
    for count, (n, free) in enumerate(changes):
        workers[n].ledger.report(SlotReport(available=free, limit=9))
        workers[n].last = count
        ranking.update(workers[n])
        free_ones = [each for each in workers if each.ledger.free]
        expected = min(
            free_ones, key=lambda each: (-each.ledger.free, each.last, each.order), default=None
        )
        assert best(ranking) == (None if expected is None else expected.id)


@pytest.mark.parametrize("best_first", [True, False])
def test_stale_ranks_are_swept_out(best_first: bool) -> None:
    """A worker that is never the best leaves one entry behind, not thousands, and stays behind."""
    first, second = worker("a", 50), worker("b", 1)
    ranking = idle(*((first, second) if best_first else (second, first)))
    for free in [1, 2] * (5 * SLACK):
        second.ledger.report(SlotReport(available=free, limit=100))
        ranking.update(second)
        assert best(ranking) == "a"
    assert len(ranking) <= 2 * 2 + SLACK + 1


def lane(function: str, *places: tuple[float, int]) -> Lane:
    """Return a lane with tasks at these places."""
    made = Lane(("g", 1, function), Pool(("g", 1)))
    for priority, seq in places:
        push(made, priority, seq)
    return made


def push(where: Lane, priority: float, seq: int) -> None:
    """Let a task wait."""
    task = RIG.task(f"t{seq}", priority=priority)
    task.seq = seq
    where.queue.push(task)


def listed(*lanes: Lane) -> LaneHeads:
    """Return the heads of these lanes."""
    heads = LaneHeads()
    for each in lanes:
        offer(heads, each)
    return heads


def offer(heads: LaneHeads, where: Lane) -> None:
    """Offer a lane's first task."""
    first = where.queue.head()
    assert first is not None
    heads.offer(where, first.request.priority, first.seq)


def taken(heads: LaneHeads) -> list[tuple[str, int]]:
    """Take task by task; return from which lane, and which."""
    found: list[tuple[str, int]] = []
    while (head := heads.best()) is not None:
        task = head[2].queue.pop()
        assert task is not None
        found.append((head[2].key[2], task.seq))
    return found


def test_lanes_take_turns_by_their_first_tasks() -> None:
    """Priority over all lanes, then acceptance over all lanes."""
    f, g = lane("f", (1, 1), (1, 4), (2, 5)), lane("g", (1, 2), (1, 3), (2, 0))
    heads = listed(f, g)
    assert taken(heads) == [("f", 1), ("g", 2), ("g", 3), ("f", 4), ("g", 0), ("f", 5)]
    assert heads.best() is None


def test_a_better_first_task_is_offered() -> None:
    """And the entry it replaces is stale, so that nothing comes twice."""
    f, g = lane("f", (5, 1)), lane("g", (4, 2))
    heads = listed(f, g)
    push(f, 1, 3)
    offer(heads, f)
    assert taken(heads) == [("f", 3), ("g", 2), ("f", 1)]


def test_stale_heads_are_swept_out() -> None:
    """A lane with a standing backlog and urgent tasks that come and go."""
    backlog = lane("f", (9, 0))
    first = lane("g", (1, 0))
    heads = listed(backlog, first)
    for seq in range(1, 5 * SLACK):
        push(backlog, 2, -seq)
        offer(heads, backlog)
    assert len(heads) <= 2 * 2 + SLACK + 1
    assert taken(heads)[0] == ("g", 0)
