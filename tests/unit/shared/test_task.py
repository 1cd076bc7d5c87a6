"""What a task is: what its values show of themselves."""

from __future__ import annotations

from shared.task import Outcome, TaskRequest
from shared.task_state import TaskStatus


def test_a_request_does_not_show_its_key() -> None:
    """Keys never reach logs and errors; everything else is shown, and the key counts in comparisons."""
    request = TaskRequest(function="hello", contract=2, worker_key="secret-key")
    shown = repr(request)
    assert "secret-key" not in shown
    assert "worker_key" not in shown
    assert "function='hello', contract=2, group='', input=b'{}', priority=1, mode=" in shown
    assert request != TaskRequest(function="hello", contract=2)


def test_only_a_success_is_ok() -> None:
    """Every other status is a failure."""
    assert [status for status in TaskStatus if Outcome(status).ok] == [TaskStatus.SUCCEEDED]
