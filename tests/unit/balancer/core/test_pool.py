"""Pools and shapes: what stands in for what."""

from __future__ import annotations

from balancer.core.live_worker import LiveWorker
from balancer.core.pool import Pool, Shape
from shared.slot_report import SlotReport
from tests.fakes.scheduler_rig import Rig


def test_a_new_pool_is_empty() -> None:
    """No worker, no lane, no shape."""
    pool = Pool(("g", 1))
    assert (pool.workers, pool.lanes, pool.shapes) == ({}, {}, {})


def test_a_shape_ranks_its_own_workers() -> None:
    """And has told nobody anything."""
    shape = Shape(Pool(("g", 1)), frozenset("f"), [])
    worker = LiveWorker(Rig().facts())
    worker.up = True
    worker.ledger.reopen(SlotReport(available=1, limit=1))
    shape.workers[worker.id] = worker
    shape.idle.update(worker)
    assert shape.idle.best() is worker.rank
    assert (shape.up, shape.told, shape.newcomers) == (0, None, False)
