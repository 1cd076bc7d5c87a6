"""The scheduler alone: decisions a second, and bytes per waiting task.

    python -m benchmarks.scheduler [--waiting 1000000] [--workers 10000] [--rounds 7]

A decision is a whole task as the core sees it: submitted, dispatched, finished, and its slot reported
free. Two cases, interleaved, medians of the rounds: 10 workers with nothing waiting; and a large
fleet of which every slot is taken while a large backlog waits. The second must reach half of the
first. Tasks are made outside of the measured time: their making is the edge's work. It is the
processor's time that counts, so that whoever else uses the machine matters less.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import time
import tracemalloc
from collections import deque

from balancer.core.events import WorkerFacts
from balancer.core.live_task import LiveTask
from balancer.core.scheduler import Scheduler, Settings
from benchmarks.plan import Plan
from benchmarks.process import Child
from benchmarks.report import Goal, Section, Table
from benchmarks.servers import ROOT
from shared.capability import FunctionSpec
from shared.ids import BootId, SequentialIds, TaskId, Token, WorkerId
from shared.slot_report import SlotReport
from shared.task import Outcome, Piece, TaskRequest
from shared.task_state import TaskStatus

SLOTS = 10
LANE = ("group", 1, "hello")
FUNCTIONS = {"hello": FunctionSpec(name="hello")}
CALL_S = 300.0  # every call has a deadline, as at the edge
BATCH = 20_000  # decisions of one measurement
DECISIONS = 100_000.0  # a second that a small fleet must reach
LONG_S = 170.0  # a million waiting tasks are made first
BUSY = 50  # tasks under way in the small case: half of its slots


class Shell:
    """Commands and sink: notes dispatches, as little as a bench needs."""

    def __init__(self) -> None:
        self.sent: deque[tuple[WorkerId, Token]] = deque()
        self.reports: dict[WorkerId, SlotReport] = {}

    def dispatch(self, worker: WorkerId, task: LiveTask) -> None:
        """Read a dispatch like a worker: one slot less."""
        if task.token is not None:
            self.sent.append((worker, task.token))
        report = self.reports[worker]
        report.seen += 1
        report.available -= 1

    def resolve(self, task: LiveTask, outcome: Outcome) -> None:
        """Drop an end."""

    def changed(self, task: LiveTask, event: str, code: str = "") -> None:
        """Drop a change."""

    def cancel_attempt(self, worker: WorkerId, token: Token, reason: str) -> None:
        """Drop a cancel."""

    def acknowledge(self, worker: WorkerId, token: Token) -> None:
        """Drop an acknowledgement."""

    def demand(self, worker: WorkerId, count: int, best_priority: float) -> None:
        """Drop a demand."""

    def piece(self, piece: Piece) -> None:
        """Drop a piece."""

    def finished(self, outcome: Outcome) -> None:
        """Drop an end."""


class Bench:
    """A scheduler with a fleet whose slots and backlog are kept as they are."""

    def __init__(self, workers: int, under_way: int, *, discovered: bool = True) -> None:
        self.shell = Shell()
        settings = Settings(max_queue=10**9, max_queue_bytes=10**12)
        self.scheduler = Scheduler(self.shell, SequentialIds("b"), random.Random(1), settings)
        self.now_s = 1000.0
        self._ids = SequentialIds("t")
        for n in range(workers):
            self._join(n)
        if discovered:
            self.scheduler.discovered(self.now_s)
        self.submit(under_way)

    def _join(self, n: int) -> None:
        worker = WorkerId(f"10.0.{n // 250}.{n % 250}:3000")
        facts = WorkerFacts(
            worker=worker, boot=BootId("boot"), group="group", contract=1, functions=FUNCTIONS,
            eligible=frozenset(FUNCTIONS), order=n,
        )  # fmt: skip
        report = SlotReport(available=SLOTS, limit=SLOTS)
        self.shell.reports[worker] = report
        self.scheduler.worker_up(facts, report, (), self.now_s)

    def task(self) -> LiveTask:
        """Return a task as the edge makes it."""
        return LiveTask(
            TaskId(self._ids.next_id()), LANE, TaskRequest(function="hello", contract=1, group="group"),
            self.shell, created_s=self.now_s, deadline_s=self.now_s + CALL_S,
        )  # fmt: skip

    def submit(self, count: int) -> None:
        """Hand in so many tasks."""
        for n in range(count):
            self.now_s += 0.00001 if n % 2 else 0.0
            assert self.scheduler.submit(self.task(), self.now_s) is None

    def measure(self) -> float:
        """Return the decisions a second of one batch."""
        tasks = [self.task() for _ in range(BATCH)]
        outcomes = [Outcome(TaskStatus.SUCCEEDED) for _ in range(BATCH)]
        scheduler, sent, reports = self.scheduler, self.shell.sent, self.shell.reports
        now_s = self.now_s
        began = time.process_time()
        for task, outcome in zip(tasks, outcomes, strict=True):
            scheduler.submit(task, now_s)
            worker, token = sent.popleft()
            scheduler.finished(worker, token, outcome, now_s)
            report = reports[worker]
            report.available += 1
            scheduler.reported(worker, report, now_s)
        took_s = time.process_time() - began
        self.now_s += 0.05
        scheduler.tick(self.now_s)
        return BATCH / took_s


def waiting_bytes(count: int) -> float:
    """Return the memory of one waiting task, its request included and its input not."""
    bench = Bench(0, 0, discovered=False)  # nobody hosts anything yet, so everything waits
    bench.submit(1)  # so that the lane is there
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    bench.submit(count)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


def measure(workers: int, waiting: int, rounds: int) -> dict[str, float]:
    """Return the figures, by name."""
    per_task = waiting_bytes(20_000)
    small = Bench(10, BUSY)
    large = Bench(workers, workers * SLOTS + waiting)
    gc.collect()
    gc.freeze()  # as the process does once it is up; else a full collection walks the whole backlog
    seen = [(small.measure(), large.measure()) for _ in range(rounds)]
    first, second = (statistics.median(column) for column in zip(*seen, strict=True))
    return {"small": first, "large": second, "bytes": per_task}


def run(plan: Plan) -> Section:
    """Measure in a process of its own, whose gigabyte goes with it."""
    workers, waiting = (1000, 100_000) if plan.quick else (10_000, 1_000_000)
    options = ("--workers", str(workers), "--waiting", str(waiting), "--rounds", str(plan.rounds))
    command = [sys.executable, "-m", "benchmarks.scheduler", "--json", *options]
    with Child("the scheduler alone", command, folder=ROOT) as child:
        found = json.loads(child.wait(LONG_S))
    table = Table(
        "The scheduler alone", ("fleet", "decisions/s", "of the small"), ("of the small",)
    )
    table.add("10 workers, none waiting", found["small"], 1.0)
    share = found["large"] / found["small"]
    table.add(f"{workers:,} workers, {waiting:,} waiting", found["large"], share)
    goals = [
        Goal("decisions of a small fleet", found["small"], DECISIONS, unit="/s"),
        Goal("a large fleet with a backlog / a small one", share, 0.5),
    ]
    return Section("scheduler", [table], goals, [f"{found['bytes']:,.0f} bytes per waiting task"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    chosen = parser.parse_args()
    found = measure(chosen.workers, chosen.waiting, chosen.rounds)
    if chosen.json:
        print(json.dumps(found))
        return
    small, large = found["small"], found["large"]
    print(f"10 workers, none waiting            {small:>10,.0f} decisions/s")
    label = f"{chosen.workers:,} workers, {chosen.waiting:,} waiting"
    print(f"{label:<35} {large:>10,.0f} decisions/s   {large / small:.2f} of it")
    print(f"bytes per waiting task              {found['bytes']:>10,.0f}")


if __name__ == "__main__":
    main()
