"""Planted bugs: each is put into the real code for a while, and the simulation must find it.

Not collected with the other tests; `make planted` runs it. A guarantee whose bug is not found here is
not guarded by the simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from balancer.core.attempts import Attempts
from balancer.core.backlog import Backlog
from balancer.core.dispatcher import Dispatcher
from balancer.core.leases import DeadlineWheel, Windows
from balancer.core.placement import LaneHeads
from balancer.core.scheduler import Scheduler
from balancer.core.slot_ledger import SlotLedger
from balancer.delivery import durable
from balancer.engine import Engine
from balancer.fleet.link import LinkPort
from shared import task_state
from shared.ids import Token
from shared.task_state import TaskEvent, TaskStatus
from tests.simulation.world import USUAL, Broken, World
from worker import engine as worker_engine
from worker.core.outbox import Outbox
from worker.core.slot_gate import SlotGate
from worker.session import LinkSession

if TYPE_CHECKING:
    from collections.abc import Generator

    from balancer.core.lane import Lane
    from balancer.core.live_task import LiveTask
    from balancer.core.live_worker import LiveWorker
    from shared.ids import TaskId, WorkerId
    from shared.slot_report import SlotReport
    from shared.task import Outcome
    from worker.core.outbox import Entry

SEEDS = 60  # worlds in which a bug must show; nearly all do in the first three

Plant = Callable[[], AbstractContextManager[None]]


@contextmanager
def patched(owner: object, name: str, bug: object) -> Generator[None]:
    """Put something else in the place of an attribute for a while."""
    before = cast("object", getattr(owner, name))
    setattr(owner, name, bug)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def wrong_entry_of_the_state_table() -> Generator[None]:
    """A task whose worker was lost is scheduled, for no moment."""
    key = (TaskStatus.RUNNING, TaskEvent.LOST)
    before = task_state.TRANSITIONS[key]
    task_state.TRANSITIONS[key] = TaskStatus.SCHEDULED
    try:
        yield
    finally:
        task_state.TRANSITIONS[key] = before


def reversed_tie_break() -> AbstractContextManager[None]:
    """Among workers with as many free slots, the one that was used last comes first."""
    start = Dispatcher.start

    def bug(self: Dispatcher, task: LiveTask, worker: LiveWorker, now_s: float) -> None:
        start(self, task, worker, now_s)
        worker.last = -worker.last

    return patched(Dispatcher, "start", bug)


def token_compare_dropped() -> AbstractContextManager[None]:
    """A result is taken for its task, whatever attempt it is of."""
    finished = Engine.finished

    def bug(
        self: Engine, worker: WorkerId, token: Token, task_id: TaskId, outcome: Outcome
    ) -> None:
        task = self.scheduler.get(task_id)
        if task is not None and task.token is not None and task.worker is not None:
            worker, token = task.worker, task.token
        finished(self, worker, token, task_id, outcome)

    return patched(Engine, "finished", bug)


def limit_off_by_one() -> AbstractContextManager[None]:
    """A worker has a slot more than it should."""

    def bug(limit: int) -> SlotGate:
        return SlotGate(limit + 1)

    return patched(worker_engine, "SlotGate", bug)


def stale_report_frees() -> AbstractContextManager[None]:
    """A report counts as one that saw every dispatch."""
    report = SlotLedger.report

    def bug(self: SlotLedger, told: SlotReport) -> None:
        told.seen = 1_000_000
        report(self, told)

    return patched(SlotLedger, "report", bug)


def double_release() -> AbstractContextManager[None]:
    """The end of code gives two slots back."""
    release = SlotGate.release

    def bug(self: SlotGate, now_s: float, *, stuck: bool = False) -> None:
        release(self, now_s, stuck=stuck)
        self.used = max(0, self.used - 1)

    return patched(SlotGate, "release", bug)


def refusal_loses_its_place() -> AbstractContextManager[None]:
    """A refused task goes to the end of its lane."""
    refused = Attempts.refused

    def bug(self: Attempts, worker: LiveWorker, token: Token, code: str, message: str) -> None:
        task = worker.running.get(token)
        if task is not None:
            task.seq += 1_000_000
        refused(self, worker, token, code, message)

    return patched(Attempts, "refused", bug)


def fifo_broken_after_requeue() -> AbstractContextManager[None]:
    """Every task that comes back goes to the end of its lane."""
    file = Backlog.file

    def bug(self: Backlog, task: LiveTask, lane: Lane) -> None:
        if task.number > 0:
            task.seq += 1_000_000
        file(self, task, lane)

    return patched(Backlog, "file", bug)


def requeue_after_success() -> AbstractContextManager[None]:
    """A durable task that succeeded counts as lost with its worker."""
    finished = Attempts.finished

    def bug(
        self: Attempts, worker: LiveWorker, token: Token, outcome: Outcome, now_s: float
    ) -> bool:
        task = worker.running.get(token)
        if task is not None and task.durable and outcome.ok:
            outcome.status = TaskStatus.CANCELLED
        return finished(self, worker, token, outcome, now_s)

    return patched(Attempts, "finished", bug)


def lost_cancel() -> AbstractContextManager[None]:
    """Workers are not told what is not wanted any more."""

    def bug(self: LinkPort, token: Token, reason: str) -> None:
        """Tell nobody."""

    return patched(LinkPort, "cancel", bug)


def old_link_not_killed() -> AbstractContextManager[None]:
    """A worker goes on reading the older link of a balancer that has opened another."""
    leave = LinkSession.leave

    def bug(self: LinkSession, code: str, message: str) -> None:
        if code != "replaced":
            leave(self, code, message)

    return patched(LinkSession, "leave", bug)


def unacknowledged_result_dropped() -> AbstractContextManager[None]:
    """A worker keeps no durable result: what is sent into a broken link is lost."""
    put = Outbox.put

    def bug(self: Outbox, entry: Entry) -> None:
        if not entry.durable:
            put(self, entry)

    return patched(Outbox, "put", bug)


def outbox_row_not_written() -> AbstractContextManager[None]:
    """The end of a task is committed without its webhook."""

    def bug(*_: object) -> None:
        """Make no row."""

    return patched(durable, "outbox_row", bug)


def lane_skipped() -> AbstractContextManager[None]:
    """One lane is never looked at when a slot becomes free."""
    offer = LaneHeads.offer

    def bug(self: LaneHeads, lane: Lane, priority: float, seq: int) -> None:
        if lane.key[2] != "retried":
            offer(self, lane, priority, seq)

    return patched(LaneHeads, "offer", bug)


def window_that_never_ends() -> AbstractContextManager[None]:
    """A worker that is away is never given up."""

    def bug(self: Windows[object], now_s: float) -> list[object]:
        return []

    return patched(Windows, "expired", bug)


# Beyond the list of the issue: what else must not go unnoticed.


def acknowledged_before_commit() -> AbstractContextManager[None]:
    """A worker may forget a durable result before it is on disk."""

    def bug(self: durable.DurableTasks, token: Token) -> bool:
        return False

    return patched(durable.DurableTasks, "committing", bug)


def recovered_too_early() -> AbstractContextManager[None]:
    """Recovered tasks run before the workers have said what they hold."""

    def bug(self: Backlog, task: LiveTask) -> bool:
        return False

    return patched(Backlog, "_held_back", bug)


def not_adopted() -> AbstractContextManager[None]:
    """What a worker still runs for an earlier balancer is run again."""

    def bug(self: Attempts, *_: object) -> bool:
        return False

    return patched(Attempts, "adopt", bug)


def deadline_forgotten() -> AbstractContextManager[None]:
    """Deadlines pass without anybody looking."""

    def bug(self: DeadlineWheel, now_s: float) -> list[LiveTask]:
        return []

    return patched(DeadlineWheel, "expired", bug)


def given_up_in_silence() -> AbstractContextManager[None]:
    """A worker that cancelled the calls of a balancer does not tell it when it comes back."""
    put = Outbox.put

    def bug(self: Outbox, entry: Entry) -> None:
        if entry.finished.status != "cancelled":
            put(self, entry)

    return patched(Outbox, "put", bug)


def credit_given_twice() -> AbstractContextManager[None]:
    """A piece that comes again is credited although its reader has yet to read it."""

    def bug(*_: object) -> bool:
        return True

    return patched(Scheduler, "wants_credit", bug)


# In the order of the issue, then the others.
BUGS: tuple[Plant, ...] = (
    wrong_entry_of_the_state_table,
    reversed_tie_break,
    token_compare_dropped,
    limit_off_by_one,
    stale_report_frees,
    double_release,
    refusal_loses_its_place,
    fifo_broken_after_requeue,
    requeue_after_success,
    lost_cancel,
    old_link_not_killed,
    unacknowledged_result_dropped,
    outbox_row_not_written,
    lane_skipped,
    window_that_never_ends,
    acknowledged_before_commit,
    recovered_too_early,
    not_adopted,
    deadline_forgotten,
    given_up_in_silence,
    credit_given_twice,
)


@pytest.mark.simulation
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: cast("str", plant.__name__))
def test_a_planted_bug_is_found(plant: Plant) -> None:
    """Some seed shows that a guarantee is broken."""
    for seed in range(SEEDS):
        with plant():
            try:
                World(seed, USUAL).run()
            except Broken as found:
                print(f"seed {seed}: {found.problem}")
                return
    pytest.fail(f"not found by {SEEDS} seeds")
