"""The queue of a lane: strict priority, then acceptance; whatever is pushed, removed, pushed back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancer.core.live_task import LiveTask
from balancer.core.task_queue import MAX_LEVELS, SWEEP_FROM, TaskQueue
from tests.fakes.scheduler_rig import Rig


def task(seq: int, priority: float = 1, created_s: float = 0.0) -> LiveTask:
    """Return a task with a place."""
    made = Rig().task(f"t{seq}", priority=priority)
    made.seq = seq
    made.created_s = created_s
    return made


def drained(queue: TaskQueue) -> list[int]:
    """Take everything out; return the order."""
    found: list[int] = []
    while (first := queue.pop()) is not None:
        found.append(first.seq)
    return found


@pytest.mark.parametrize(
    ("pushed", "order"),
    [
        ([], []),
        ([(1, 1), (2, 1), (3, 1)], [1, 2, 3]),  # first come, first served
        ([(1, 9), (2, 1), (3, 5)], [2, 3, 1]),  # priority before arrival
        ([(5, 1), (2, 1), (9, 1), (1, 1)], [1, 2, 5, 9]),  # late entries go to their own place
        ([(3, 2), (1, 2), (4, 1), (2, 1)], [2, 4, 1, 3]),
        ([(1, 2), (2, 1.5), (3, 1)], [3, 2, 1]),  # fractions are priorities too
        ([(1, 1), (2, 1.0)], [1, 2]),  # 1 and 1.0 are one priority
    ],
)
def test_tasks_leave_by_priority_then_by_acceptance(
    pushed: list[tuple[int, float]], order: list[int]
) -> None:
    """The first is the one with the lowest priority number, and among equals the oldest."""
    queue = TaskQueue()
    for seq, priority in pushed:
        queue.push(task(seq, priority))
    assert len(queue) == len(order)
    assert drained(queue) == order
    assert queue.head() is None
    assert len(queue) == 0


def test_a_removed_task_is_skipped_wherever_it_stands() -> None:
    """First of a level, in its middle, first of the strays, in their middle."""
    queue = TaskQueue()
    tasks = {seq: task(seq, 1) for seq in (10, 11, 12, 3, 1, 2)}
    for each in tasks.values():
        queue.push(each)
    for seq in (10, 12, 1, 3):
        queue.remove(tasks[seq])
    assert len(queue) == 2
    assert sorted(each.seq for each in queue) == [2, 11]
    assert drained(queue) == [2, 11]


def test_a_level_that_only_holds_removed_tasks_is_passed_over() -> None:
    """The next priority comes up."""
    queue = TaskQueue()
    first, second = task(1, 1), task(2, 2)
    queue.push(first)
    queue.push(second)
    queue.remove(first)
    assert queue.head() is second


def test_a_removed_task_that_comes_back_has_its_own_place() -> None:
    """Its old entry is used again: it is there once."""
    queue = TaskQueue()
    tasks = [task(seq) for seq in (1, 2, 3)]
    for each in tasks:
        queue.push(each)
    queue.remove(tasks[1])
    queue.push(tasks[1])
    assert len(queue) == 3
    assert drained(queue) == [1, 2, 3]


def test_many_removals_give_their_memory_back() -> None:
    """When most entries are marked they are swept out, in levels and among the strays."""
    queue = TaskQueue()
    tasks = [task(seq, priority=seq % 3) for seq in range(2 * SWEEP_FROM, 0, -1)]
    kept = tasks.pop()
    for each in (*tasks, kept):
        queue.push(each)
    for each in tasks:
        queue.remove(each)
    assert len(queue) == 1
    assert drained(queue) == [kept.seq]


def test_more_priorities_than_levels_keep_the_order() -> None:
    """Callers who use time stamps as priorities get a plain heap."""
    queue = TaskQueue()
    count = 3 * MAX_LEVELS
    for seq in range(count):
        queue.push(task(seq, priority=count - seq))
    assert drained(queue) == list(range(count - 1, -1, -1))


def test_the_oldest_is_found_behind_removed_ones() -> None:
    """Its age is that of the task created first, of any priority, in or out of order."""
    queue = TaskQueue()
    assert queue.oldest_s() is None
    old, low, stray = task(5, 1, 10.0), task(6, 9, 20.0), task(2, 1, 30.0)
    for each in (old, low, stray):
        queue.push(each)
    assert queue.oldest_s() == 10.0
    queue.remove(old)
    assert queue.oldest_s() == 20.0
    queue.remove(low)
    assert queue.oldest_s() == 30.0


class QueueMachine(RuleBasedStateMachine):
    """The model is a plain list, sorted again at each look."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TaskQueue()
        self.model: dict[int, LiveTask] = {}
        self.out: dict[int, LiveTask] = {}
        self.count = 0

    @rule(priority=st.sampled_from([1, 2, 2.5, 3]))
    def push(self, priority: float) -> None:
        """A new task."""
        self.count += 1
        made = task(self.count, priority)
        self.model[made.seq] = made
        self.queue.push(made)

    @precondition(lambda self: bool(self.out))
    @rule(index=st.integers(0, 99))
    def push_back(self, index: int) -> None:
        """A task that was taken or removed comes back."""
        seq = list(self.out)[index % len(self.out)]
        back = self.model[seq] = self.out.pop(seq)
        self.queue.push(back)

    @precondition(lambda self: bool(self.model))
    @rule(index=st.integers(0, 99))
    def remove(self, index: int) -> None:
        """A task is cancelled."""
        seq = list(self.model)[index % len(self.model)]
        self.out[seq] = self.model.pop(seq)
        self.queue.remove(self.out[seq])

    @rule()
    def pop(self) -> None:
        """The first task leaves."""
        expected = self._first()
        taken = self.queue.pop()
        assert taken is expected
        if taken is not None:
            self.out[taken.seq] = self.model.pop(taken.seq)

    @invariant()
    def same(self) -> None:
        """Same tasks, same first."""
        assert len(self.queue) == len(self.model)
        assert {each.seq for each in self.queue} == set(self.model)
        assert self.queue.head() is self._first()

    def _first(self) -> LiveTask | None:
        return min(
            self.model.values(), key=lambda each: (each.request.priority, each.seq), default=None
        )


TestQueue = QueueMachine.TestCase


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=300))
def test_any_mass_of_removals_leaves_the_rest_in_order(plan: list[tuple[int, bool]]) -> None:
    """A multiset in is the same multiset out, less what was removed."""
    queue = TaskQueue()
    tasks = [task(seq, priority) for seq, (priority, _) in enumerate(plan)]
    for each in tasks:
        queue.push(each)
    for each, (_, goes) in zip(tasks, plan, strict=True):
        if goes:
            queue.remove(each)
    rest = [each for each, (_, goes) in zip(tasks, plan, strict=True) if not goes]
    rest.sort(key=lambda each: (each.request.priority, each.seq))
    assert drained(queue) == [each.seq for each in rest]
