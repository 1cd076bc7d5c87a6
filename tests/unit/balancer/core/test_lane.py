"""A lane: who gets its next task, and recovered tasks that come first."""

from __future__ import annotations

from balancer.core.lane import Lane
from balancer.core.live_worker import LiveWorker
from balancer.core.pool import Pool, Shape
from shared.ids import WorkerId
from shared.slot_report import SlotReport
from tests.fakes.scheduler_rig import A, B, C, Rig

RIG = Rig()


def lane() -> Lane:
    """Return a lane that nobody hosts."""
    return Lane(("g", 1, "f"), Pool(("g", 1)))


def host(where: Lane, *workers: tuple[WorkerId, int], order: int = 0) -> Shape:
    """Let a shape of workers with so many free slots serve a lane."""
    shape = Shape(where.pool, frozenset({"f", str(len(where.shapes))}), [where])
    where.shapes.append(shape)
    for name, free in workers:
        worker = LiveWorker(RIG.facts(name, order=order))
        worker.up = True
        worker.ledger.reopen(SlotReport(available=free, limit=10))
        shape.workers[name] = worker
        shape.idle.update(worker)
    return shape


def chosen(where: Lane) -> str | None:
    """Return who gets the next task."""
    worker = where.best_worker()
    return None if worker is None else worker.id


def test_nobody_is_idle_where_nobody_hosts() -> None:
    """Then there is no reference either."""
    assert chosen(lane()) is None
    assert lane().reference() is None


def test_the_best_of_one_shape_gets_the_task() -> None:
    """Or nobody, when all are busy."""
    where = lane()
    host(where, (A, 1), (B, 2))
    assert chosen(where) == B
    busy = lane()
    host(busy, (A, 0))
    assert chosen(busy) is None


def test_the_best_of_all_shapes_gets_the_task() -> None:
    """Shapes without an idle worker do not count."""
    where = lane()
    host(where, (A, 1))
    host(where, (B, 0))
    host(where, (C, 3))
    assert chosen(where) == C


def test_the_reference_is_looked_up_once() -> None:
    """The first in workers.json order, over all shapes."""
    where = lane()
    host(where, (B, 1), order=5)
    host(where, (C, 1), order=2)
    reference = where.reference()
    assert reference is not None
    assert reference.id == C
    assert where.reference() is where.host


def test_recovered_tasks_come_before_what_was_accepted_after_them() -> None:
    """Their places are older; nothing happens when there are none."""
    where = lane()
    where.release_recovered()
    for seq, queue in ((1, where.recovered), (2, where.recovered), (3, where.queue)):
        task = RIG.task(f"t{seq}")
        task.seq = seq
        queue.push(task)
    where.release_recovered()
    assert [where.queue.pop(), len(where.queue), len(where.recovered)][1:] == [2, 0]
    first = where.queue.head()
    assert first is not None
    assert first.seq == 2
