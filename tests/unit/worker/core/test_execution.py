"""One attempt and the table of all attempts: one decision, one end, limits that hold."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import TaskId, Token
from shared.task import Outcome
from shared.task_state import TaskStatus
from worker.core.execution import (
    STUCK_AFTER_S,
    TRANSITIONS,
    Execution,
    Executions,
    Happening,
    Phase,
    cancelled,
    failed,
    timed_out,
)

NOW_S = 50.0
DONE = Outcome(TaskStatus.SUCCEEDED, b"1")


def _execution(
    token: str = "t", *, timeout_s: float | None = None, deadline_s: float | None = None
) -> Execution:
    return Execution(Token(token), TaskId("task"), "f", timeout_s=timeout_s, deadline_s=deadline_s)


def test_the_table_is_total_where_code_exists() -> None:
    """Every phase but the last can end, and nothing follows the end."""
    for phase in Phase:
        assert ((phase, Happening.ENDED) in TRANSITIONS) is (phase is not Phase.ENDED)
    assert all(before is not Phase.ENDED for before, _ in TRANSITIONS)


def test_an_unknown_transition_is_a_bug_of_ours() -> None:
    """What the table does not have is an assertion."""
    execution = _execution()
    execution.end(DONE)
    with pytest.raises(AssertionError, match="no transition"):
        execution.end(DONE)


def test_what_the_code_returned_is_the_decision() -> None:
    """An attempt that ends by itself is decided by its own outcome."""
    execution = _execution()
    execution.begin(NOW_S)
    assert execution.end(DONE)
    assert execution.outcome is DONE
    assert execution.phase is Phase.ENDED


def test_only_the_first_decision_counts() -> None:
    """A result after the time-out is late, and a second stop is none."""
    execution = _execution()
    execution.begin(NOW_S)
    first = timed_out()
    assert execution.stop(first, NOW_S)
    assert not execution.stop(cancelled(), NOW_S)
    assert not execution.end(DONE)
    assert execution.outcome is first


def test_an_attempt_without_code_can_be_stopped_and_ended() -> None:
    """A reserved slot whose input never comes is given back."""
    execution = _execution()
    assert execution.stop(cancelled(), NOW_S)
    assert not execution.end(cancelled())
    assert execution.phase is Phase.ENDED


def test_a_process_that_comes_up_too_late_does_not_revive_an_attempt() -> None:
    """Beginning after the decision changes nothing."""
    execution = _execution(timeout_s=1)
    execution.stop(cancelled(), NOW_S)
    execution.begin(NOW_S)
    assert execution.phase is Phase.CANCELLING
    assert execution.started_s is None


# (timeout_s, deadline_s) → when it is stopped if it begins at NOW_S
LIMITS = [
    (None, None, None),
    (3.0, None, NOW_S + 3),
    (None, NOW_S + 2, NOW_S + 2),
    (3.0, NOW_S + 2, NOW_S + 2),
    (1.0, NOW_S + 2, NOW_S + 1),
]


@pytest.mark.parametrize(("timeout_s", "deadline_s", "stop_s"), LIMITS)
def test_the_earlier_limit_holds(
    timeout_s: float | None, deadline_s: float | None, stop_s: float | None
) -> None:
    """The limit of the run counts from its beginning, the task's deadline from its acceptance."""
    execution = _execution(timeout_s=timeout_s, deadline_s=deadline_s)
    execution.begin(NOW_S)
    assert execution.stop_s == stop_s


def test_a_decided_attempt_has_no_limit_any_more() -> None:
    """What is shown as the remaining time ends with the decision."""
    execution = _execution(timeout_s=1)
    execution.begin(NOW_S)
    execution.stop(cancelled(), NOW_S)
    assert execution.stop_s is None


def test_a_tick_times_out_and_later_finds_stuck() -> None:
    """Time-out at its limit, stuck when the code outlives it by STUCK_AFTER_S; each once."""
    table = Executions[Execution]()
    execution = _execution(timeout_s=2)
    table.add(execution)
    execution.begin(NOW_S)
    table.watch(execution)
    assert table.tick(NOW_S + 1.99) == ([], [])
    assert table.tick(NOW_S + 2) == ([execution], [])
    assert execution.outcome is not None
    assert execution.outcome.status is TaskStatus.TIMED_OUT
    assert table.tick(NOW_S + 2 + STUCK_AFTER_S - 0.01) == ([], [])
    assert table.tick(NOW_S + 2 + STUCK_AFTER_S) == ([], [execution])
    assert execution.phase is Phase.STUCK
    assert table.tick(NOW_S + 1000) == ([], [])
    assert not execution.end(DONE)


def test_a_reserved_attempt_times_out_at_its_deadline() -> None:
    """A slot whose input never arrives is not held past the task's deadline."""
    table = Executions[Execution]()
    execution = _execution(deadline_s=NOW_S + 1)
    table.add(execution)
    assert table.tick(NOW_S + 1).timed_out == [execution]


def test_the_table_forgets_what_has_ended() -> None:
    """An attempt is found by its token while it holds a slot, and no longer."""
    table = Executions[Execution]()
    execution = _execution("a")
    table.add(execution)
    assert table.get(Token("a")) is execution
    assert (len(table), list(table)) == (1, [execution])
    table.remove(execution)
    assert table.get(Token("a")) is None
    assert len(table) == 0


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=12),
    st.lists(st.integers(1, 15), min_size=1, max_size=20),
)
def test_no_attempt_outlives_its_limit_by_more_than_a_tick(
    attempts: list[tuple[int, bool]], steps: list[int]
) -> None:
    """Whatever ends in between, at each tick exactly those are timed out whose limit has passed."""
    table = Executions[Execution]()
    alive: dict[str, tuple[Execution, float]] = {}
    for number, (timeout_s, ends_early) in enumerate(attempts):
        execution = _execution(f"t{number}", timeout_s=timeout_s)
        table.add(execution)
        execution.begin(NOW_S)
        table.watch(execution)
        if ends_early:
            execution.end(DONE)
            table.remove(execution)
        else:
            alive[execution.token] = (execution, NOW_S + timeout_s)
    for elapsed in itertools.accumulate(steps):
        now_s = NOW_S + elapsed
        due = {each.token for each in table.tick(now_s).timed_out}
        assert due == {token for token, (_, limit_s) in alive.items() if limit_s <= now_s}
        alive = {token: each for token, each in alive.items() if token not in due}


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (timed_out(), TaskStatus.TIMED_OUT, "timeout"),
        (cancelled(), TaskStatus.CANCELLED, "cancelled"),
        (failed("shutting_down"), TaskStatus.FAILED, "shutting_down"),
    ],
)
def test_our_own_outcomes_carry_their_codes(
    outcome: Outcome, status: TaskStatus, code: str
) -> None:
    """What the worker decides itself has the status and the code of the contract."""
    assert outcome.status is status
    assert outcome.failure is not None
    assert outcome.failure.code == code
