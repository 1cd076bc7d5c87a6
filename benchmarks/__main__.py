"""Run the benchmarks: each section in turn, its tables as soon as they are there, JSON at the end."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from benchmarks import bodies, durable, latency, page, scheduler, streams, throughput
from benchmarks.caller import WrongAnswerError
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.process import ChildError
from benchmarks.report import Section, save

SECTIONS: dict[str, Callable[[Plan], Section]] = {
    "throughput": throughput.run,
    "latency": latency.run,
    "streams": streams.run,
    "bodies": bodies.run,
    "webhooks": durable.run,
    "scheduler": scheduler.run,
}
CORES = 2


def main() -> None:
    """Measure, print, save; the exit code says whether everything could be measured, not how it went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three minutes instead of fifteen")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="only this section")
    parser.add_argument(
        "--page", action="store_true", help="write the ratios of this run into docs/performance.md"
    )
    chosen = parser.parse_args()
    if chosen.page and (chosen.quick or chosen.only):
        parser.error("--page needs a full run: figures of several runs do not compare")
    _settle()
    plan = QUICK if chosen.quick else FULL
    began_s = time.monotonic()
    done: list[Section] = []
    left_out: list[str] = []
    for name in chosen.only or SECTIONS:
        print(f"=== {name}", flush=True)
        if time.monotonic() - began_s > plan.budget_s:
            left_out.append(name)
            print(f"!!! {name} IS LEFT OUT: the time for this run is over !!!\n", flush=True)
            continue
        try:
            section = SECTIONS[name](plan)
        except (ChildError, WrongAnswerError) as exc:
            left_out.append(name)
            print(f"!!! {name} HAS FAILED: {exc} !!!\n", flush=True)
            continue
        done.append(section)
        print(f"{section.text()}\n", flush=True)
    if chosen.page:
        page.write(done)
    path = save(done, quick=plan.quick)
    goals = [goal for section in done for goal in section.goals]
    met, took_s = sum(goal.met for goal in goals), time.monotonic() - began_s
    print(f"{met} of {len(goals)} goals met in {took_s:.0f} s; everything is in {path}")
    sys.exit(1 if left_out else 0)


def _settle() -> None:
    """Keep to two cores, open enough files, and end children when we are told to end."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    if len(cores) < CORES:
        print(f"!!! ONLY {len(cores)} CORE: figures are not comparable with those of two !!!")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
