"""The state table: its full matrix, what random histories may do, and the diagram made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.task_state import TERMINAL, TRANSITIONS, TaskEvent, TaskStatus, after, mermaid

# Rows: state; columns: event → state. What is not listed is impossible.
MATRIX = {
    "scheduled": {
        "due": "queued", "cancelled": "cancelled", "expired": "expired", "timed_out": "timed_out",
        "failed": "failed", "adopted": "running",
    },
    "queued": {
        "dispatched": "running", "adopted": "running", "failed": "failed", "cancelled": "cancelled",
        "expired": "expired", "timed_out": "timed_out",
    },
    "running": {
        "adopted": "running", "refused": "queued", "lost": "queued", "retried": "scheduled",
        "succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled",
        "timed_out": "timed_out", "quarantined": "quarantined",
    },
    "quarantined": {"released": "queued", "failed": "failed"},
    "succeeded": {}, "failed": {}, "cancelled": {}, "timed_out": {}, "expired": {},
}  # fmt: skip

PAIRS = [(state, event) for state in TaskStatus for event in TaskEvent]


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_the_matrix(state: TaskStatus, event: TaskEvent) -> None:
    """Every pair of state and event either leads where the matrix says or is a bug of ours."""
    expected = MATRIX[state.value].get(event.value)
    if expected is None:
        with pytest.raises(AssertionError, match=f"no transition from {state} by {event}"):
            after(state, event)
    else:
        assert after(state, event) is TaskStatus(expected)


def test_every_state_has_its_row() -> None:
    """A new state is written into the matrix."""
    assert set(MATRIX) == {state.value for state in TaskStatus}


@given(st.lists(st.sampled_from(TaskEvent), max_size=40), st.sampled_from(TaskStatus))
def test_a_terminal_state_is_left_by_an_operator_only(
    events: list[TaskEvent], state: TaskStatus
) -> None:
    """Whatever happens, an outcome that was told stays; an operator releases or gives up a quarantine."""
    for event in events:
        if (state, event) not in TRANSITIONS:
            continue
        if state in TERMINAL:
            assert event in (TaskEvent.RELEASED, TaskEvent.FAILED)
            assert state is TaskStatus.QUARANTINED
        state = after(state, event)


def test_every_state_that_is_not_terminal_can_end() -> None:
    """No task can be caught in a state from which no outcome is reached."""
    reached = set(TERMINAL)
    for _ in TaskStatus:
        reached |= {old for (old, _), new in TRANSITIONS.items() if new in reached}
    assert reached == set(TaskStatus)


def test_an_attempt_can_be_cancelled_and_timed_out_wherever_it_waits_or_runs() -> None:
    """A caller's cancel and a deadline find a way out of every state that is not terminal."""
    for state in set(TaskStatus) - TERMINAL:
        assert after(state, TaskEvent.CANCELLED) is TaskStatus.CANCELLED
        assert after(state, TaskEvent.TIMED_OUT) is TaskStatus.TIMED_OUT


def test_the_diagram_shows_each_transition_once() -> None:
    """The documentation's diagram is the table."""
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    for (old, event), new in TRANSITIONS.items():
        assert lines.count(f"    {old} --> {new}: {event}") == 1
    assert [line for line in lines if line.endswith("--> [*]")] == [
        f"    {state} --> [*]" for state in TaskStatus if state in TERMINAL
    ]
    assert len(lines) == 3 + len(TRANSITIONS) + len(TERMINAL)
