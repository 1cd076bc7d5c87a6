"""The soak: large worlds, one seed after another, for as long as it is told (`make soak MINUTES=60`).

It begins with a seed of its own each time, prints it, and saves the seed of a world that breaks.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from shared.system import SystemClock, system_chance
from tests.simulation.kept_seeds import save
from tests.simulation.world import LARGE, Broken, World

MAX_SEED = 10**9


def main() -> int:
    """Run until the time is over or a guarantee is broken; return the exit code."""
    parser = argparse.ArgumentParser(description="Run large simulated fleets for a while.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="the first seed; drawn when it is not given")
    given = parser.parse_args()
    seed = given.seed
    if seed is None:
        seed = int(system_chance().random() * MAX_SEED)
    return soak(seed, given.minutes * 60)


def soak(first: int, seconds: float) -> int:
    """Run worlds from a first seed on; return the exit code."""
    clock = SystemClock()
    begun_s = clock.monotonic()
    happened: Counter[str] = Counter()
    steps = worlds = 0
    while not worlds or clock.monotonic() - begun_s < seconds:
        seed = first + worlds
        try:
            report = World(seed, LARGE).run()
        except Broken as broken:
            print(f"{broken}\nsaved as {save(broken)}", file=sys.stderr)
            return 1
        worlds += 1
        steps += report.steps
        happened.update(report.happened)
        print(f"seed {seed}: {report.steps} steps, {report.seconds:.0f} s of the fleet", flush=True)
    print(f"{worlds} worlds, {steps} steps, no guarantee broken; what happened:")
    for what, count in happened.most_common():
        print(f"  {count:8} {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
