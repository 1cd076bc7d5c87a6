"""Throughput and latency of a sync call at 8, 64 and 512 callers, through each system in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks import servers
from benchmarks.caller import hello
from benchmarks.load import Sample, closed_loop
from benchmarks.plan import Plan, interleaved, median, ratio
from benchmarks.report import Goal, Section, Table
from benchmarks.servers import KEY, System

CALLERS = (8, 64, 512)
SLOTS = (64, 10)
GOAL, STRETCH = 1.2, 2.0
MAIN = 64  # callers and slots of the claim
BARE = "aiohttp, bare"
HAPROXY = "HAProxy + aiohttp"
COLUMNS = (
    "system, slots", "calls/s", "of bare", "of HAProxy", "p50 ms", "p99 ms", "CPU µs/call", "generator",
)  # fmt: skip


@dataclass(slots=True)
class Turn:
    """One turn of one system.

    Attributes:
        sample: what the generator saw.
        cpu_us: microseconds of a core an answer, by process from the front to the back.
    """

    sample: Sample
    cpu_us: list[float]


def run(plan: Plan) -> Section:
    """Measure."""
    section = Section("throughput")
    with ExitStack() as stack:
        systems = _systems(stack, section)
        turns: dict[str, Callable[[], Turn]] = {}
        for name, system in systems.items():
            for callers in CALLERS:
                if callers == MAIN or name.endswith(f" {MAIN}") or name == BARE:
                    turns[f"{name}|{callers}"] = partial(_turn, plan, system, callers)
        seen = interleaved(plan.rounds, turns)
    for callers in CALLERS:
        section.tables.append(_table(callers, seen))
    _judge(section, seen)
    return section


def _systems(stack: ExitStack, section: Section) -> dict[str, System]:
    enter = stack.enter_context
    systems = {BARE: enter(servers.bare(BARE))}
    with_haproxy = servers.haproxy_binary() is not None
    if not with_haproxy:
        print(f"!!! {servers.NO_HAPROXY} !!!", flush=True)
        section.notes.append(servers.NO_HAPROXY)
    for slots in SLOTS:
        if with_haproxy:
            name = f"{HAPROXY}, {slots}"
            systems[name] = enter(servers.haproxy(name, slots=slots))
        for lane, fast in (("aiohttp", False), ("fast lane", True)):
            name = f"worker by {lane}, {slots}"
            systems[name] = enter(servers.worker(name, slots=slots, fast_lane=fast))
        for lane, fast in (("aiohttp", False), ("fast lane", True)):
            name = f"balancer + worker by {lane}, {slots}"
            systems[name] = enter(servers.fleet(name, slots=slots, fast_lane=fast))
    return systems


def _turn(plan: Plan, system: System, callers: int) -> Turn:
    requests = [hello(f"Andera-{n}", key=KEY) for n in range(callers)]
    before = [child.cpu_s for child in system.children]
    sample = closed_loop(system.address, requests, seconds=plan.seconds, warm_s=plan.warm_s)
    used = [child.cpu_s - was for child, was in zip(system.children, before, strict=True)]
    # The processes are watched over the warm-up too: scale it off.
    share = plan.seconds / (plan.seconds + plan.warm_s)
    return Turn(sample, [cpu_s * share / len(sample.latencies_s) * 1e6 for cpu_s in used])


def _table(callers: int, seen: dict[str, list[Turn]]) -> Table:
    table = Table(f"Throughput, {callers} callers", COLUMNS, ratios=COLUMNS[2:4])
    for key, turns in seen.items():
        name, at = key.split("|")
        if int(at) != callers:
            continue
        rates = [turn.sample.rate for turn in turns]
        processes = zip(*(turn.cpu_us for turn in turns), strict=True)
        table.add(
            name,
            median(rates),
            _share(rates, seen, f"{BARE}|{callers}"),
            _share(rates, seen, f"{HAPROXY}, {name.rpartition(' ')[2]}|{callers}"),
            median(turn.sample.quantile_ms(0.5) for turn in turns),
            median(turn.sample.quantile_ms(0.99) for turn in turns),
            " + ".join(f"{median(each):.0f}" for each in processes),
            f"{median(t.sample.cpu_s / len(t.sample.latencies_s) * 1e6 for t in turns):.0f}",
        )
    return table


def _share(rates: list[float], seen: dict[str, list[Turn]], yardstick: str) -> float | None:
    """Return how these rates compare with a yardstick's; None where it was not measured."""
    turns = seen.get(yardstick)
    return ratio(rates, (turn.sample.rate for turn in turns)) if turns else None


def _judge(section: Section, seen: dict[str, list[Turn]]) -> None:
    for slots in SLOTS:
        theirs = seen.get(f"{HAPROXY}, {slots}|{MAIN}")
        if not theirs:
            continue
        for lane in ("fast lane", "aiohttp"):
            ours = seen[f"balancer + worker by {lane}, {slots}|{MAIN}"]
            found = ratio((t.sample.rate for t in ours), (t.sample.rate for t in theirs))
            claim = f"balancer by {lane} / {HAPROXY}, {MAIN} callers, {slots} slots"
            # What else runs on the machine slows calls down, but hardly changes what they cost.
            cost = ratio((sum(t.cpu_us) for t in theirs), (sum(t.cpu_us) for t in ours))
            section.notes.append(f"{claim}: {cost:.2f} × the calls for the same CPU")
            if (slots, lane) == (MAIN, "fast lane"):
                section.goals += [
                    Goal(claim, found, GOAL),
                    Goal(f"stretch: {claim}", found, STRETCH),
                ]
            else:
                section.notes.append(f"{claim}: {found:.2f} ×")
