"""The scheduler under every order of events that hypothesis can think of (STYLE: stateful machine)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from shared.ids import WorkerId
from shared.task_state import TaskStatus
from tests.fakes.scheduler_world import World
from tests.fakes.slot_worker import FUNCTIONS

WORKERS = st.sampled_from([WorkerId("a:1"), WorkerId("b:1"), WorkerId("c:1")])
NAMES = st.sampled_from(sorted(FUNCTIONS))
PRIORITIES = st.integers(1, 3)
SUBSETS = st.sampled_from([("plain", "safe", "retry"), ("plain",), ("safe", "retry"), ()])
ENDED = (TaskStatus.SUCCEEDED, TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED)
ENDS = st.sampled_from(ENDED)


class SchedulerMachine(RuleBasedStateMachine):
    """All events over a fleet that really holds slots; the world checks after each."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(linked=st.sets(WORKERS, min_size=1), discovered=st.booleans())
    def begin(self, linked: set[WorkerId], discovered: bool) -> None:
        """Some of the fleet is up."""
        for worker in sorted(linked):
            self.world.link(worker)
        if discovered:
            self.world.discover()

    @rule(
        function=NAMES,
        priority=PRIORITIES,
        durable=st.booleans(),
        within_s=st.sampled_from([None, None, 1.0, 20.0]),
        stored=st.booleans(),
    )
    def submit(
        self, function: str, priority: int, durable: bool, within_s: float | None, stored: bool
    ) -> None:
        """A caller hands a task in."""
        self.world.submit(
            function, priority, durable=durable, within_s=within_s, stored=stored and durable
        )

    @rule(function=NAMES, priority=PRIORITIES)
    def restore(self, function: str, priority: int) -> None:
        """A task comes back from the store."""
        self.world.restore(function, priority)

    @rule(worker=WORKERS, finished=st.booleans())
    def hold_old_attempt(self, worker: WorkerId, finished: bool) -> None:
        """A worker still has an attempt of an earlier balancer."""
        self.world.hold_old_attempt(worker, finished=finished)

    @rule(index=st.integers(0, 50))
    def cancel(self, index: int) -> None:
        """A caller leaves."""
        self.world.cancel(index)

    @rule(readable=st.booleans())
    def load(self, readable: bool) -> None:
        """An input has been read from the store, or cannot be."""
        self.world.load(readable=readable)

    @rule(worker=WORKERS)
    def link(self, worker: WorkerId) -> None:
        """A link opens."""
        self.world.link(worker)

    @rule(worker=WORKERS, crash=st.booleans())
    def cut(self, worker: WorkerId, crash: bool) -> None:
        """A link closes."""
        self.world.cut(worker, crash=crash)

    @rule(worker=WORKERS)
    def break_port(self, worker: WorkerId) -> None:
        """A link is dead and nobody has noticed."""
        self.world.break_port(worker)

    @rule(worker=WORKERS)
    def hush(self, worker: WorkerId) -> None:
        """A worker is silent, or heard again."""
        self.world.hush(worker)

    @rule(worker=WORKERS)
    def drain(self, worker: WorkerId) -> None:
        """A worker goes into maintenance, or comes back."""
        self.world.drain(worker)

    @rule(worker=WORKERS)
    def take_direct(self, worker: WorkerId) -> None:
        """Somebody else uses a slot."""
        self.world.take_direct(worker)

    @rule(worker=WORKERS, functions=SUBSETS)
    def upgrade(self, worker: WorkerId, functions: tuple[str, ...]) -> None:
        """What a worker may be sent changes."""
        self.world.upgrade(worker, functions)

    @rule(worker=WORKERS)
    def retire(self, worker: WorkerId) -> None:
        """An entry leaves workers.json, or comes back."""
        self.world.retire(worker)

    @rule(worker=WORKERS, count=st.integers(1, 3))
    def read(self, worker: WorkerId, count: int) -> None:
        """A worker reads."""
        for _ in range(count):
            self.world.read(worker)

    @rule(worker=WORKERS, index=st.integers(0, 5), status=ENDS)
    def end_run(self, worker: WorkerId, index: int, status: TaskStatus) -> None:
        """Code ends."""
        self.world.end_run(worker, index, status)

    @rule(worker=WORKERS, count=st.integers(1, 4))
    def hear(self, worker: WorkerId, count: int) -> None:
        """The balancer reads."""
        for _ in range(count):
            self.world.hear(worker)

    @rule(worker=WORKERS, index=st.integers(0, 9))
    def repeat(self, worker: WorkerId, index: int) -> None:
        """A report arrives a second time."""
        self.world.repeat(worker, index)

    @rule(worker=WORKERS)
    def babble(self, worker: WorkerId) -> None:
        """A worker says nonsense."""
        self.world.babble(worker)

    @rule()
    def discover(self) -> None:
        """The first round of discovery ends."""
        self.world.discover()

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.5, 11.0, 31.0]), late=st.booleans())
    def wait(self, seconds: float, late: bool) -> None:
        """Time passes."""
        self.world.wait(seconds, late=late)

    def teardown(self) -> None:
        """Everything drains, and nothing is left behind."""
        self.world.run_down()


SchedulerMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class TestScheduler(SchedulerMachine.TestCase):
    """No order of events breaks a guarantee."""


def play(seed: int, steps: int = 400) -> list[tuple[object, ...]]:
    """Return the trace of a random script of the same events."""
    chance = Random(seed)
    world = World()
    for worker in world.workers:
        world.link(worker)
    for _ in range(steps):
        worker = chance.choice(list(world.workers))
        if chance.random() < 0.6:
            world.read(worker)
            world.end_run(worker, chance.randrange(3), chance.choice(list(ENDED)))
            world.hear(worker)
        elif chance.random() < 0.5:
            world.submit(
                chance.choice(sorted(FUNCTIONS)), chance.randint(1, 3),
                durable=chance.random() < 0.4, within_s=chance.choice([None, 5.0]), stored=False,
            )  # fmt: skip
        else:
            disturb(world, worker, chance)
    world.run_down()
    return world.trace


def disturb(world: World, worker: WorkerId, chance: Random) -> None:
    """Let something happen that is nobody's work."""
    match chance.randrange(8):
        case 0:
            world.restore("plain", chance.randint(1, 3))
        case 1:
            world.cancel(chance.randrange(50))
        case 2:
            world.cut(worker, crash=chance.random() < 0.5)
        case 3:
            world.hush(worker)
        case 4:
            world.upgrade(worker, chance.choice([tuple(FUNCTIONS), ("plain",)]))
        case 5:
            world.discover()
        case 6:
            world.link(worker)
        case _:
            world.wait(chance.choice([0.05, 0.5, 3.0]))


@pytest.mark.parametrize("seed", range(5))
def test_one_seed_gives_one_trace(seed: int) -> None:
    """The same events in the same order give the same commands, ten times out of ten."""
    first = play(seed)
    assert len(first) > 100
    assert all(play(seed) == first for _ in range(9))
