"""A whole fleet in virtual time, many times over; each world is decided by its seed (DESIGN §5)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import kept_seeds
from tests.simulation.kept_seeds import KeptSeed, play
from tests.simulation.planted import Plant, double_release, lane_skipped, not_adopted
from tests.simulation.world import SMALL, USUAL, Broken, World

pytestmark = pytest.mark.simulation

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 50
GROUPS = 10  # tests that these seeds are spread over, so that a failure is found soon
DIGEST = "from tests.simulation.world import SMALL, World; print(World(7, SMALL).run().digest)"

QUICKLY_FOUND = (double_release, lane_skipped, not_adopted)

# What a few worlds together must have shown, or they prove nothing.
SEEN = frozenset(
    {
        "adopted", "balancer starts", "cancelled cancelled", "dispatched", "due", "expired expired",
        "failed function_error", "failed worker_lost", "link lost", "lost", "quarantined quarantined",
        "refused", "retried", "silent", "succeeded", "superseded", "timed_out queue_timeout",
        "timed_out timeout",
    }
)  # fmt: skip


def test_one_seed_makes_one_world() -> None:
    """Test zero: ten runs of one seed leave the same trace."""
    first = World(7, SMALL).run()
    assert first.steps > 1000
    assert all(World(7, SMALL).run() == first for _ in range(9))
    assert World(8, SMALL).run().digest != first.digest


def test_a_seed_makes_the_same_world_in_another_process() -> None:
    """A seed that failed somewhere fails here: nothing depends on the hashes of one process."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": hashes}, capture_output=True, check=True,
        ).stdout
        for hashes in ("1", "2")
    }  # fmt: skip
    assert digests == {f"{World(7, SMALL).run().digest}\n".encode()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_guarantee_holds(group: int) -> None:
    """Ten workers and three hundred tasks, with everything that may go wrong."""
    for seed in range(group, SEEDS, GROUPS):
        play(seed, USUAL)


@pytest.mark.timeout(300)
def test_the_worlds_show_what_they_are_for() -> None:
    """Faults, retries, losses and takeovers really happen in them."""
    seen: set[str] = set()
    for seed in range(12):
        seen |= World(1000 + seed, USUAL).run().happened.keys()
    assert seen >= SEEN


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kept", kept_seeds.kept_seeds(), ids=lambda kept: kept.name)
def test_what_was_broken_once_holds(kept: KeptSeed) -> None:
    """A seed that broke a guarantee is replayed for ever."""
    World(kept.seed, kept.sizes).run()


@pytest.mark.parametrize("plant", QUICKLY_FOUND, ids=lambda plant: plant.__name__)
def test_a_broken_guarantee_is_told_and_kept(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report names the seed and its last steps; the seed is saved (`make planted` has more bugs)."""
    monkeypatch.setattr(kept_seeds, "FOLDER", tmp_path)
    with plant(), pytest.raises(Broken, match=r"seed 0, .*workers.*\nlast steps:\n") as found:
        play(0, USUAL)
    assert len(str(found.value).splitlines()) == 52
    [kept] = kept_seeds.kept_seeds()
    assert (kept.seed, kept.sizes) == (0, USUAL)
