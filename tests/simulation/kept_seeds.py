"""Seeds that broke a guarantee once: saved as JSON beside this file, replayed for ever."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.world import Broken, Report, Sizes, World

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).with_name("regressions")


class KeptSeed(NamedTuple):
    """A world that was broken."""

    name: str
    seed: int
    sizes: Sizes


def kept_seeds() -> list[KeptSeed]:
    """Return what was saved, by name."""
    return list(_read())


def play(seed: int, sizes: Sizes) -> Report:
    """Run a world; save its seed when a guarantee is broken.

    Raises:
        Broken: it names the seed, the sizes and the last steps.
    """
    try:
        return World(seed, sizes).run()
    except Broken as broken:
        save(broken)
        raise


def save(broken: Broken) -> Path:
    """Keep the seed of a broken world."""
    sizes = broken.sizes
    path = FOLDER / f"{sizes.workers}x{sizes.tasks}-seed-{broken.seed}.json"
    kept = {"seed": broken.seed, "sizes": asdict(sizes), "problem": broken.problem}
    path.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
    return path


def _read() -> Iterator[KeptSeed]:
    for path in sorted(FOLDER.glob("*.json")):
        kept = json.loads(path.read_text("utf-8"))
        yield KeptSeed(path.stem, int(kept["seed"]), Sizes(**kept["sizes"]))
