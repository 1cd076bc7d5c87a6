"""What the balancer adds to a call, at 30 % of what it can do, under calls that fall due by the clock."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks import servers
from benchmarks.caller import hello
from benchmarks.load import Sample, closed_loop, open_loop
from benchmarks.plan import Plan, interleaved, median
from benchmarks.report import Goal, Section, Table
from benchmarks.servers import KEY, System

SHARE = 0.3  # of saturation
SLOTS = 64
CALLERS = 64  # at saturation
CONNECTIONS = 256  # that calls of the open loop can choose from
P50_MS, P99_MS = 0.5, 3.0
DIRECT = "worker directly"


def run(plan: Plan) -> Section:
    """Measure."""
    with ExitStack() as stack:
        fast = stack.enter_context(servers.fleet("by the fast lane", slots=SLOTS, fast_lane=True))
        plain = stack.enter_context(servers.fleet("by aiohttp", slots=SLOTS, fast_lane=False))
        direct = System(DIRECT, fast.children[1].address(), fast.children[1:])
        requests = [hello(f"Andera-{n}", key=KEY) for n in range(CONNECTIONS)]
        saturated = closed_loop(
            fast.address, requests[:CALLERS], seconds=2 * plan.seconds, warm_s=plan.warm_s
        )
        rate = SHARE * saturated.rate
        turns = {
            system.name: partial(
                open_loop, system.address, requests, rate=rate, seconds=2 * plan.seconds, warm_s=plan.warm_s
            )
            for system in (direct, fast, plain)
        }  # fmt: skip
        return _judged(interleaved(plan.rounds, turns), rate)


def _judged(seen: dict[str, list[Sample]], rate: float) -> Section:
    title = f"Latency at a fixed {rate:,.0f} calls/s ({SHARE:.0%} of the balancer's most)"
    table = Table(title, ("system", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms"))
    section = Section("latency", [table])
    for name, samples in seen.items():
        added = [_added(samples, seen[DIRECT], q) for q in (0.5, 0.99)]
        table.add(
            name,
            median(sample.quantile_ms(0.5) for sample in samples),
            median(sample.quantile_ms(0.99) for sample in samples),
            *((None, None) if name == DIRECT else added),
        )
        if name == "by the fast lane":
            claims = zip(("p50", "p99"), added, (P50_MS, P99_MS), strict=True)
            section.goals = [
                Goal(f"{q} that the balancer adds", found, bound, at_least=False, unit="ms")
                for q, found, bound in claims
            ]
    return section


def _added(samples: list[Sample], direct: list[Sample], q: float) -> float:
    pairs = zip(samples, direct, strict=True)
    return median(ours.quantile_ms(q) - theirs.quantile_ms(q) for ours, theirs in pairs)
