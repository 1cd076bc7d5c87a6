"""The worker's own queue: strict priority, then first come first served; bounded; deadlines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import TaskId
from shared.task import Outcome, Piece, TaskRequest
from worker.core.direct_queue import MAX_REMOVED, DirectQueue, DirectTask, Place

NOW_S = 10.0


class NoSink:
    """A sink that nobody reads."""

    def piece(self, piece: Piece) -> None:
        """Take a piece."""

    def finished(self, outcome: Outcome) -> None:
        """Take the end."""


def _task(
    name: str, priority: float = 1, *, size: int = 2, deadline_s: float | None = None
) -> DirectTask:
    request = TaskRequest(function="f", contract=1, input=b"x" * size, priority=priority)
    return DirectTask(TaskId(name), request, NoSink(), deadline_s=deadline_s)


def _drain(queue: DirectQueue) -> list[str]:
    names: list[str] = []
    while (task := queue.pop()) is not None:
        names.append(task.id)
    return names


ORDERS = [
    ([("a", 1), ("b", 1), ("c", 1)], ["a", "b", "c"]),
    ([("a", 5), ("b", 1), ("c", 3)], ["b", "c", "a"]),
    ([("a", 2), ("b", 1.5), ("c", 2), ("d", 1.5)], ["b", "d", "a", "c"]),
    ([("a", 2097152), ("b", 1)], ["b", "a"]),
]


@pytest.mark.parametrize(("tasks", "order"), ORDERS)
def test_strict_priority_then_first_come(tasks: list[tuple[str, float]], order: list[str]) -> None:
    """1 is first; equals go in the order they came."""
    queue = DirectQueue(100, 10_000)
    for name, priority in tasks:
        queue.push(_task(name, priority))
    assert queue.best_priority == min(priority for _, priority in tasks)
    assert _drain(queue) == order


def test_it_is_bounded_in_count_and_in_bytes() -> None:
    """Past either bound there is no room."""
    queue = DirectQueue(2, 100)
    queue.push(_task("a", size=10))
    assert queue.room_for(_task("b", size=90))
    assert not queue.room_for(_task("b", size=91))
    queue.push(_task("b", size=1))
    assert not queue.room_for(_task("c", size=1))
    queue.pop()
    assert queue.room_for(_task("c", size=1))


def test_a_retry_waits_for_its_time_and_goes_to_its_own_place() -> None:
    """A task in backoff is not started, is counted, and comes back before what came after it."""
    queue = DirectQueue(10, 1000)
    first = _task("first")
    queue.push(first)
    queue.push(_task("second"))
    assert queue.pop() is first
    queue.postpone(first, NOW_S + 5)
    assert (len(queue), queue.waiting, first.place) == (2, 1, Place.BACKOFF)
    assert queue.tick(NOW_S + 4.9) == []
    assert queue.waiting == 1
    assert queue.tick(NOW_S + 5) == []
    assert _drain(queue) == ["first", "second"]


def test_deadlines_end_what_waits() -> None:
    """A task past its deadline is taken out, whether it waits for a slot or for its next attempt."""
    queue = DirectQueue(10, 1000)
    waiting, retrying = _task("w", deadline_s=NOW_S + 1), _task("r", deadline_s=NOW_S + 2)
    queue.push(retrying)
    queue.push(waiting)
    assert queue.pop() is retrying
    queue.postpone(retrying, NOW_S + 50)
    assert queue.tick(NOW_S + 0.9) == []
    assert queue.tick(NOW_S + 1) == [waiting]
    assert queue.tick(NOW_S + 2) == [retrying]
    assert (len(queue), queue.size) == (0, 0)


def test_removing_takes_out_what_waits_only() -> None:
    """A running task is not the queue's; removing it twice does no harm."""
    queue = DirectQueue(10, 1000)
    task, other = _task("a"), _task("b")
    queue.push(task)
    queue.push(other)
    queue.remove(task)
    queue.remove(task)
    assert queue.pop() is other
    queue.remove(other)
    assert other.place is Place.RUNNING
    assert (len(queue), queue.size, queue.best_priority) == (0, 0, 1)


def test_removed_tasks_do_not_pile_up() -> None:
    """Behind one that waits for ever, thousands may come and go without costing memory."""
    queue = DirectQueue(10, 1000)
    queue.push(_task("head"))
    for number in range(5 * MAX_REMOVED):
        task = _task(str(number), 9)
        queue.push(task)
        queue.remove(task)
    held = queue._heap  # pyright: ignore[reportPrivateUsage]  # memory is what is tested
    assert len(held) <= MAX_REMOVED + 2
    assert _drain(queue) == ["head"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["push", "pop", "remove", "retry"]), st.integers(1, 4)),
        max_size=60,
    )
)
def test_it_behaves_like_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    """Whatever comes and goes, the next is the first of the list by priority, then by arrival."""
    queue = DirectQueue(1000, 10**6)
    model: list[tuple[int, int, DirectTask]] = []
    running: list[tuple[int, int, DirectTask]] = []
    for number, (step, value) in enumerate(steps):
        if step == "push":
            task = _task(str(number), value)
            queue.push(task)
            model.append((value, number, task))
        elif step == "pop":
            model.sort(key=lambda each: each[:2])
            expected = model.pop(0) if model else None
            assert queue.pop() is (expected and expected[2])
            if expected:
                running.append(expected)
        elif step == "remove" and model:
            queue.remove(model.pop(value % len(model))[2])
        elif step == "retry" and running:
            entry = running.pop(value % len(running))
            queue.postpone(entry[2], NOW_S)
            queue.tick(NOW_S)
            model.append(entry)
        assert queue.waiting == len(queue) == len(model)
        assert queue.size == sum(each[2].size for each in model)
