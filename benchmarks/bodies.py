"""What large bodies in the background do to small calls: their p99 with and without."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks import servers
from benchmarks.caller import hello
from benchmarks.load import Sample, open_loop
from benchmarks.plan import Plan, interleaved, median, ratio
from benchmarks.process import Child
from benchmarks.report import Goal, Section, Table
from benchmarks.servers import KEY, ROOT, System

RATE = 1000.0  # small calls a second
CONNECTIONS = 64
SLOTS = 64
TIMES = 3.0  # that p99 may rise
MB = 1_000_000
# Each goes in and comes out: 4 MB/s of the small and of the large ones, either way.
LARGE = (f"{MB}:250", f"{10 * MB}:2500")
SECONDS = 6.0  # of a turn: two of the largest at the least
MARGIN_S = 1.0  # that the background goes on around the measurement


def run(plan: Plan) -> Section:
    """Measure."""
    seconds = SECONDS if not plan.quick else SECONDS / 2
    with ExitStack() as stack:
        bare = stack.enter_context(servers.bare())
        ours = stack.enter_context(servers.fleet("balancer + worker", slots=SLOTS, fast_lane=True))
        turns: dict[str, Callable[[], Sample]] = {}
        for system in (bare, ours):
            turns[f"{system.name}|alone"] = partial(_small, system, seconds)
            turns[f"{system.name}|beside"] = partial(_beside, system, seconds)
        seen = interleaved(plan.few, turns)
    return _judged(seen, [bare.name, ours.name])


def _judged(seen: dict[str, list[Sample]], names: list[str]) -> Section:
    title = f"Small calls at {RATE:,.0f}/s beside bodies of 1 and 10 MB, in and out"
    columns = ("system", "p50 ms", "p99 ms", "p50 beside", "p99 beside", "p99 rises")
    table = Table(title, columns, ratios=("p99 rises",))
    section = Section("bodies", [table])
    for name in names:
        alone, beside = seen[f"{name}|alone"], seen[f"{name}|beside"]
        rise = ratio((s.quantile_ms(0.99) for s in beside), (s.quantile_ms(0.99) for s in alone))
        table.add(
            name,
            *(
                median(s.quantile_ms(q) for s in turn)
                for turn in (alone, beside)
                for q in (0.5, 0.99)
            ),
            rise,
        )
        if name != names[0]:
            claim = "p99 of small calls beside large bodies"
            section.goals.append(Goal(claim, rise, TIMES, at_least=False))
    return section


def _small(system: System, seconds: float) -> Sample:
    requests = [hello(f"Andera-{n}", key=KEY) for n in range(CONNECTIONS)]
    return open_loop(system.address, requests, rate=RATE, seconds=seconds, warm_s=0.2)


def _beside(system: System, seconds: float) -> Sample:
    host, port = system.address
    command = [
        sys.executable,
        "-m",
        "benchmarks.bulk",
        host,
        str(port),
        str(seconds + MARGIN_S),
        *LARGE,
    ]
    with Child("the sender of large bodies", command, folder=ROOT) as child:
        child.until("begun")
        sample = _small(system, seconds)
        child.wait(60)
    return sample
