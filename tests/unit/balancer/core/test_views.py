"""What the scheduler shows."""

from __future__ import annotations

from shared.ids import WorkerId
from tests.fakes.scheduler_rig import NOW_S, A, Rig


def test_lanes_show_what_waits_and_for_how_long() -> None:
    """In order of their names; an empty one shows that it is there."""
    rig = Rig()
    rig.up(A, free=0, functions=("f", "g"))
    rig.submit("x", "g", priority=7)
    rig.now_s += 5
    rig.submit("y", "g", priority=3)
    assert rig.core.lanes() == [
        (("g", 1, "f"), 0, None, None),
        (("g", 1, "g"), 2, NOW_S, 3),
    ]


def test_counts_say_where_tasks_are() -> None:
    """Waiting, running, and what a restart would lose."""
    rig = Rig()
    rig.up(A, free=1)
    rig.submit("x", size=5)
    rig.submit("y", size=7)
    rig.submit("z", size=9, durable=True)
    counts = rig.core.counts()
    assert counts._asdict() == {
        "tasks": 3, "waiting": 2, "running": 1, "volatile": 2, "waiting_bytes": 16, "workers_up": 1,
    }  # fmt: skip
    assert [task.id for task in rig.core.tasks()] == ["x", "y", "z"]
    assert rig.core.running(A) == 1
    assert rig.core.running(WorkerId("nobody")) == 0
    assert rig.core.worker(WorkerId("nobody")) is None
