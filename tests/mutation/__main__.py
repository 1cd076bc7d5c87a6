"""Mutation testing of the pure cores: `make mutation`, or `python -m tests.mutation --help`.

A seeded sample of all mutants of both cores, the link protocol and the state table, each against the unit
tests of its module and then of its folder, on a copy of the project. Ends with 1 below the goal.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from shared.system import SystemClock
from tests.mutation.mutants import Mutant, mutants, mutated
from tests.mutation.trial import Verdict, begin, verdict, warm_up

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("balancer/core/*.py", "worker/core/*.py", "shared/protocol/*.py", "shared/task_state.py")
COPIED = ("balancer", "cabrank", "shared", "tests", "worker", "pyproject.toml")


@dataclass
class Score:
    """What the trials said."""

    verdicts: dict[str, Counter[Verdict]] = field(default_factory=dict[str, Counter[Verdict]])
    survivors: list[Mutant] = field(default_factory=list[Mutant])

    def add(self, mutant: Mutant, said: Verdict) -> None:
        """Count one trial; a mutant that hangs was noticed."""
        self.verdicts.setdefault(mutant.path, Counter())[said] += 1
        if said is Verdict.SURVIVED:
            self.survivors.append(mutant)

    @property
    def total(self) -> Counter[Verdict]:
        """Return the verdicts over all modules."""
        return sum(self.verdicts.values(), Counter[Verdict]())


def main() -> int:
    """Run trials until the sample, its count or the time is over; print the score."""
    options = _options()
    clock = SystemClock()
    end_s = clock.monotonic() + options.minutes * 60
    with tempfile.TemporaryDirectory(prefix="cabrank-mutation-") as folder:
        root = Path(folder)
        _copy(root)
        sample = _sample(root, options)
        print(f"{len(sample)} mutants, seed {options.seed}, {options.minutes:g} minutes at most")
        warm_up(root, sorted({f"tests/unit/{Path(mutant.path).parent}" for mutant in sample}))
        broken = _unmutated(root, sample)
        if broken:
            print(f"these tests fail without any mutation: {', '.join(broken)}")
            return 2
        score = Score()
        running: dict[int, Mutant] = {}
        while sample or running:
            while sample and len(running) < options.jobs and clock.monotonic() < end_s:
                mutant = sample.pop()
                running[_try(root, mutant)] = mutant
            if not running:
                break
            pid, status = os.wait()
            mutant = running.pop(pid)
            score.add(mutant, verdict(status))
            print(f"{verdict(status):9} {mutant}", flush=True)
    return _report(score, options.goal)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="begin no trial after them")
    parser.add_argument("--seed", default="1", help="of the sample")
    parser.add_argument(
        "--count", type=int, help="size of the sample; without it all, in random order"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trials at a time")
    parser.add_argument("--goal", type=float, default=80, help="per cent that must be killed")
    parser.add_argument(
        "--only", action="append", help="a part of PATH:LINE: to try again; may be given repeatedly"
    )
    return parser.parse_args()


def _copy(root: Path) -> None:
    """Copy what tests need: others may write in the working tree meanwhile, and trials must not."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name)
        else:
            shutil.copy2(ROOT / name, root / name)


def _sample(root: Path, options: argparse.Namespace) -> list[Mutant]:
    paths = sorted(path for pattern in TARGETS for path in root.glob(pattern))
    found = [
        mutant
        for path in paths
        for mutant in mutants(str(path.relative_to(root)), path.read_text())
        if options.only is None or any(part in f"{mutant}" for part in options.only)
    ]
    Random(options.seed).shuffle(found)
    return found[: options.count][::-1]  # taken from the end


def _tests_of(root: Path, path: str) -> list[str]:
    """Return the module's own tests, then its neighbours'."""
    module = Path(path)
    folder = Path("tests/unit") / module.parent
    own = folder / f"test_{module.stem}.py"
    if module.name == "task_state.py":
        return [str(own)]
    rest = [str(test.relative_to(root)) for test in sorted((root / folder).glob("test_*.py"))]
    if str(own) not in rest:
        return [" ".join(rest)]
    rest.remove(str(own))
    return [str(own), " ".join(rest)]


def _try(root: Path, mutant: Mutant) -> int:
    path = root / mutant.path
    code = mutated(mutant, path.read_text(), str(path))
    return begin(root, _tests_of(root, mutant.path), (mutant.path, code))


def _unmutated(root: Path, sample: list[Mutant]) -> list[str]:
    """Return the folders whose tests fail as they are."""
    by_folder = {str(Path(mutant.path).parent): mutant.path for mutant in sample}
    running = {
        begin(root, _tests_of(root, path), None): folder for folder, path in by_folder.items()
    }
    ended = [os.waitpid(pid, 0) for pid in running]
    return sorted(running[pid] for pid, status in ended if status)


def _report(score: Score, goal: float) -> int:
    print("\nSurvivors")
    for mutant in sorted(score.survivors, key=lambda mutant: (mutant.path, mutant.line)):
        print(f"  {mutant}")
    print(f"\n{'module':36} {'killed':>7} {'survived':>9} {'timed out':>10} {'score':>7}")
    for path, counts in sorted(score.verdicts.items()):
        print(_row(path, counts))
    print(_row("all", score.total))
    return 0 if _per_cent(score.total) >= goal else 1


def _row(name: str, counts: Counter[Verdict]) -> str:
    killed, survived, timed_out = (counts[said] for said in Verdict)
    return f"{name:36} {killed:7} {survived:9} {timed_out:10} {_per_cent(counts):6.1f}%"


def _per_cent(counts: Counter[Verdict]) -> float:
    total = counts.total()
    return 100 * (total - counts[Verdict.SURVIVED]) / total if total else 100.0


if __name__ == "__main__":
    sys.exit(main())
