"""How much is tried: little in each run of the suite, more when somebody asks for it.

`FUZZ_EXAMPLES` is the number of cases of each kind for one route; other tests take multiples of it.
`FUZZ_SEED` chooses other cases for schemathesis; hypothesis chooses others in each run.
"""

from __future__ import annotations

import os

import hypothesis

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


def examples(share: int) -> hypothesis.settings:
    """Return settings for a property that tries `share` times as many cases as a route."""
    return hypothesis.settings(max_examples=share * EXAMPLES)
