"""From a task's end to its webhook."""

from __future__ import annotations

import json

import pytest

from balancer.core.live_task import LiveTask
from balancer.delivery.outbox import outbox_row
from shared.errors import failure
from shared.ids import TaskId
from shared.task import Outcome, WebhookTarget
from shared.task_state import TaskStatus
from tests.fakes.engine_rig import Caller, request
from tests.fakes.stored_tasks import T0

TARGET = WebhookTarget(url="http://hooks.test/x", headers=(("x-a", "1"),))


def task(webhook: WebhookTarget | None) -> LiveTask:
    """Return a task with or without a webhook."""
    asked = request(webhook=webhook, metadata=b'{"m":1}', correlation_id="c")
    return LiveTask(TaskId("t1"), ("default", 1, "plain"), asked, Caller(), created_s=0.0)


def test_a_task_without_webhook_has_no_row() -> None:
    """`Prefer: respond-async` keeps the result and tells nobody."""
    assert outbox_row(task(None), Outcome(TaskStatus.SUCCEEDED, b"1"), T0) is None


def test_a_row_says_all_that_a_try_needs() -> None:
    """Its id is the task's own, so that however often it is committed it is one webhook, due at once."""
    row = outbox_row(task(TARGET), Outcome(TaskStatus.SUCCEEDED, b'{"a": 1}'), T0)
    assert row is not None
    assert (row.webhook_id, row.task_id, row.url) == ("msg_t1", "t1", "http://hooks.test/x")
    assert (row.headers, row.body, row.outcome) == ((("x-a", "1"),), b'{"a": 1}', "succeeded")
    assert (row.attempts, row.next_at, row.correlation_id) == (0, T0, "c")


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (TaskStatus.FAILED, "function_error", "failed"),
        (TaskStatus.TIMED_OUT, "timeout", "timed_out"),
        (TaskStatus.EXPIRED, "expired", "timed_out"),
        (TaskStatus.CANCELLED, "cancelled", "cancelled"),
        (TaskStatus.QUARANTINED, "quarantined", "failed"),
    ],
)
def test_what_did_not_succeed_sends_the_envelope(status: TaskStatus, code: str, word: str) -> None:
    """One of the contract's four words, in the header and in the body."""
    row = outbox_row(task(TARGET), Outcome(status, None, failure(code)), T0)
    assert row is not None
    told = json.loads(row.body)
    assert (row.outcome, told["status"], told["code"], told["metadata"]) == (
        word,
        word,
        code,
        {"m": 1},
    )
