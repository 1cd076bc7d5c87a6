"""The journal: counters, log lines and ended attempts of everything that happens to tasks."""

from __future__ import annotations

import pytest

from balancer.core.live_task import LiveTask
from balancer.delivery.journal import Journal
from balancer.store.ports import MAX_ATTEMPTS_KEPT
from shared.errors import Unavailable, failure
from shared.ids import TaskId, Token, WorkerId
from shared.log import TaskLog
from shared.log_ring import LogRing
from shared.task import Mode, Outcome
from shared.task_state import TaskEvent, TaskStatus
from tests.fakes.engine_rig import Caller, request
from tests.fakes.manual_clock import ManualClock

LANE = ("default", 1, "plain")


@pytest.fixture
def clock() -> ManualClock:
    """A clock at 1000 s."""
    return ManualClock()


@pytest.fixture
def ring(clock: ManualClock) -> LogRing:
    """Every line is kept."""
    return LogRing(clock, level="debug")


@pytest.fixture
def journal(clock: ManualClock, ring: LogRing) -> Journal:
    """An empty journal."""
    return Journal(clock, TaskLog(ring))


def running(journal: Journal, mode: Mode = Mode.SYNC) -> LiveTask:
    """Return a task in its first attempt, begun 2 s after its acceptance."""
    task = LiveTask(TaskId("t1"), LANE, request(mode=mode), Caller(), created_s=1000.0)
    journal.accepted(task)
    task.token, task.worker, task.started_s, task.number = Token("k1"), WorkerId("w:1"), 1002.0, 1
    task.apply(TaskEvent.DISPATCHED)
    journal.started(task)
    return task


def test_modes_and_reasons_are_counted(journal: Journal) -> None:
    """What was taken counts by mode, what was not by code."""
    running(journal)
    running(journal, Mode.STREAM)
    durable = LiveTask(TaskId("t2"), LANE, request(), Caller(), created_s=0, durable=True)
    journal.accepted(durable)
    assert journal.rejected(failure("queue_full"), "c").code == "queue_full"
    assert journal.counters.accepted == {"sync": 1, "stream": 1, "webhook": 1}
    assert journal.counters.rejected == {"queue_full": 1}


def test_an_end_is_counted_by_lane_and_code_with_its_times(journal: Journal) -> None:
    """Waiting and running are summed; the outcome learns who ran it last, in how many attempts."""
    task = running(journal)
    outcome = Outcome(TaskStatus.FAILED, None, failure("timeout"))
    journal.ended(task, outcome, 1007.0)
    assert journal.counters.ended == {(LANE, "timeout"): 1}
    assert (journal.counters.wait_s, journal.counters.run_s) == (2.0, 5.0)
    assert (outcome.worker, outcome.attempts) == ("w:1", 1)


@pytest.mark.parametrize(
    ("event", "told", "kept"),
    [
        (TaskEvent.LOST, "lost", 1),
        (TaskEvent.RETRIED, "failed", 1),
        (TaskEvent.REFUSED, "refused", 0),
        (TaskEvent.DUE, None, 0),
    ],
)
def test_an_attempt_that_ended_is_told_and_remembered(
    journal: Journal, event: TaskEvent, told: str | None, kept: int
) -> None:
    """Lost and failed attempts stay in the history, refused ones were none."""
    task = running(journal)
    ended = journal.changed(task, event, "some_code", 1003.5)
    assert (ended and ended.outcome) == told
    assert len(task.history or []) == kept
    if ended is not None:
        assert ended.finished_at == journal.wall.at(1003.5)
        assert (ended.token, ended.code) == ("k1", "some_code")


def test_the_history_is_bounded(journal: Journal) -> None:
    """A task that is lost again and again keeps its latest attempts."""
    task = running(journal)
    for number in range(1, MAX_ATTEMPTS_KEPT + 10):
        task.number = number
        journal.changed(task, TaskEvent.LOST, "", 1003.0)
    history = task.history or []
    assert len(history) == MAX_ATTEMPTS_KEPT
    assert history[-1].n == MAX_ATTEMPTS_KEPT + 9


def test_an_outage_is_logged_once_and_its_end_too(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every task suffers from it; one line tells it."""
    task = running(journal)
    journal.store_works()
    for _ in range(3):
        journal.store_failed(task, Unavailable("disk I/O error"))
    journal.store_works()
    journal.store_works()
    out = capsys.readouterr().out
    assert (out.count("disk I/O error"), out.count("store.restored")) == (2, 1)  # text and field
    journal.store_failed(task, Unavailable("again"))
    assert "again" in capsys.readouterr().out


def test_lines_carry_the_ids_of_the_task(journal: Journal, ring: LogRing) -> None:
    """Each step of a task is a line with its id."""
    task = running(journal)
    journal.changed(task, TaskEvent.REFUSED, "no_slot", 1003.0)
    journal.ended(task, Outcome(TaskStatus.SUCCEEDED), 1004.0)
    lines = [line for line in ring.lines() if "t1" in line]
    assert len(lines) == 4
