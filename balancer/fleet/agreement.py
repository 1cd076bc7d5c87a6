"""Contract check: workers of one group and contract must host the same (contract §5).

The first in workers.json order that is known is the reference. Another worker is not shut out: only
the functions that differ get no task there, so upgrading the first worker does not stop the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from balancer.fleet.worker import FleetWorker
from shared.capability import differences
from shared.ids import PoolKey


def check(workers: Iterable[FleetWorker]) -> Iterator[FleetWorker]:
    """Compare every known worker with its reference; yield those whose differences changed."""
    references: dict[PoolKey, FleetWorker] = {}
    for worker in sorted(workers, key=lambda known: known.order):
        pool = worker.pool
        if pool is None or worker.retired:
            continue
        reference = references.setdefault(pool, worker)
        found = {} if reference is worker else differences(reference.functions, worker.functions)
        if found != worker.differences:
            worker.differences = found
            yield worker
