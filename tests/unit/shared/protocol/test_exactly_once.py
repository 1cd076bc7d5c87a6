"""Exactly once over a wire that cuts, loses, repeats and delays: both machines under real engines."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.protocol.limits import PART_BYTES
from tests.fakes.link_pair import LinkPair
from tests.unit.shared.protocol.engines import BalancerEngine, WorkerEngine, result_of

SLOTS = 3
INPUTS = st.sampled_from([b"{}", b"s" * 500, b"m" * (PART_BYTES + 1), b"l" * (3 * PART_BYTES)])
FRAMES = st.integers(1, 4)


class Fleet:
    """Both engines on one pair of machines."""

    def __init__(self) -> None:
        self.balancer = BalancerEngine()
        self.worker = WorkerEngine(SLOTS)
        self.pair = LinkPair(self.balancer, self.worker)

    def open(self) -> None:
        """Cut what there is and open a new link; the handlers speak on it from now on."""
        self.pair.open_new()
        self.balancer.link, self.worker.link = self.pair.balancer, self.pair.worker

    def settle(self) -> None:
        """Let everything arrive, acknowledgements too, which wait for a tick."""
        self.pair.settle()
        self.pair.balancer.tick(self.pair.now_s)
        self.pair.settle()

    def finish_all(self) -> None:
        """Run every task to its end on a good link."""
        self.open()
        self.settle()
        for _ in range(len(self.balancer.tasks) + 1):
            for token in list(self.worker.running):
                self.worker.finish(token)
            self.settle()


class FaultyLink(RuleBasedStateMachine):
    """Tasks come and end while the wire does its worst."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.pair = self.fleet.pair
        self.fleet.open()

    def _close_what_is_to_be_closed(self) -> None:
        if self.pair.balancer_wire.closing or self.pair.worker_wire.closing:
            self.pair.cut()

    @rule(input=INPUTS)
    def submit(self, input: bytes) -> None:
        """A task is accepted."""
        self.fleet.balancer.submit(input)

    @precondition(lambda self: self.fleet.worker.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """An attempt ends, whatever the link is doing."""
        self.fleet.worker.finish(data.draw(st.sampled_from(sorted(self.fleet.worker.running))))

    @precondition(lambda self: self.fleet.balancer.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A caller leaves."""
        tasks = self.fleet.balancer.tasks
        self.fleet.balancer.cancel(tasks[data.draw(st.sampled_from(sorted(tasks)))])

    @rule(frames=FRAMES)
    def send_to_worker(self, frames: int) -> None:
        """The balancer's socket takes some frames."""
        self.pair.flush_to_worker(frames)

    @rule(frames=FRAMES)
    def send_to_balancer(self, frames: int) -> None:
        """The worker's socket takes some frames."""
        self.pair.flush_to_balancer(frames)

    @rule(frames=FRAMES)
    def arrive_at_worker(self, frames: int) -> None:
        """Some frames arrive at the worker."""
        for _ in range(frames):
            self.pair.deliver_to_worker()
        self._close_what_is_to_be_closed()

    @rule(frames=FRAMES)
    def arrive_at_balancer(self, frames: int) -> None:
        """Some frames arrive at the balancer."""
        for _ in range(frames):
            self.pair.deliver_to_balancer()
        self._close_what_is_to_be_closed()

    @rule()
    def settle(self) -> None:
        """For once, everything arrives."""
        self.fleet.settle()

    @rule()
    def repeat_to_worker(self) -> None:
        """A frame arrives twice at the worker."""
        self.pair.to_worker.duplicate()

    @rule()
    def repeat_to_balancer(self) -> None:
        """A frame arrives twice at the balancer."""
        self.pair.to_balancer.duplicate()

    @rule()
    def cut(self) -> None:
        """The link is cut; frames on their way are lost."""
        self.pair.cut()

    @rule()
    def reconnect(self) -> None:
        """A new link takes the place of what there is."""
        self.fleet.open()

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.1]))
    def time_passes(self, seconds: float) -> None:
        """Both sides look at the time."""
        self.pair.now_s += seconds
        self.pair.balancer.tick(self.pair.now_s)
        self.pair.worker.tick(self.pair.now_s)

    @invariant()
    def no_slot_is_given_twice(self) -> None:
        """Never more runs than there are slots, and a balancer with a ledger is never refused."""
        assert self.fleet.worker.used <= SLOTS
        assert self.fleet.balancer.refusals == 0

    @invariant()
    def nothing_runs_twice(self) -> None:
        """Neither a token nor, since this worker does not die, a task."""
        assert set(self.fleet.worker.started_tokens.values()) <= {1}
        assert set(self.fleet.worker.started_tasks.values()) <= {1}

    @invariant()
    def no_result_comes_twice(self) -> None:
        """A task has its own result, at most once."""
        for task in self.fleet.balancer.tasks.values():
            assert task.results in ([], [result_of(task.id, task.input)])

    def teardown(self) -> None:
        """On a good link everything ends: each task with its result, nothing is left anywhere."""
        self.fleet.finish_all()
        for task in self.fleet.balancer.tasks.values():
            assert task.cancelled or task.results == [result_of(task.id, task.input)]
        self.nothing_runs_twice()
        worker = self.fleet.worker
        assert (worker.reserved, worker.running, worker.outbox) == (set(), {}, {})
        assert self.pair.balancer.buffered == self.pair.worker.buffered == 0


FaultyLink.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestFaultyLink = FaultyLink.TestCase


def test_a_result_lost_with_its_link_is_offered_again() -> None:
    """What was finished during a cut, or sent into one, arrives by the next link."""
    fleet = Fleet()
    fleet.open()
    fleet.balancer.submit(b"a")
    fleet.balancer.submit(b"b")
    fleet.settle()
    first, second = sorted(fleet.worker.running)
    fleet.worker.finish(first)
    fleet.pair.flush()  # on its way …
    fleet.pair.cut()  # … and lost
    fleet.worker.finish(second)
    fleet.open()
    fleet.settle()
    assert [len(task.results) for task in fleet.balancer.tasks.values()] == [1, 1]
    assert fleet.worker.outbox == {}


def test_a_result_whose_acknowledgement_was_lost_is_taken_once() -> None:
    """The second offer is recognised by its token and acknowledged again."""
    fleet = Fleet()
    fleet.open()
    fleet.balancer.submit(b"a")
    fleet.settle()
    fleet.worker.finish(*fleet.worker.running)
    fleet.pair.flush_to_balancer()
    assert fleet.pair.deliver_to_balancer()
    fleet.pair.cut()
    assert len(fleet.worker.outbox) == 1
    fleet.open()
    fleet.settle()
    assert [len(task.results) for task in fleet.balancer.tasks.values()] == [1]
    assert fleet.balancer.superseded == 1
    assert fleet.worker.outbox == {}


def test_a_dispatch_lost_with_its_link_runs_under_a_new_token() -> None:
    """What the worker does not name goes back to its place and is dispatched anew."""
    fleet = Fleet()
    fleet.open()
    fleet.settle()
    fleet.balancer.submit(b"a")
    fleet.pair.flush_to_worker()
    fleet.open()
    fleet.settle()
    assert dict(fleet.worker.started_tokens) == {"token-2": 1}


def test_a_report_that_has_not_seen_a_dispatch_frees_no_slot() -> None:
    """The ancestor's race: a report crosses dispatches, and nothing is sent into taken slots."""
    fleet = Fleet()
    fleet.open()
    fleet.settle()
    fleet.worker.limit = SLOTS + 1
    assert fleet.worker.link is not None
    fleet.worker.link.touch()
    fleet.pair.flush_to_balancer()  # says that all are free, and has seen nothing
    for _ in range(SLOTS + 5):
        fleet.balancer.submit(b"a")
    assert fleet.pair.deliver_to_balancer()
    assert fleet.pair.balancer.sent == SLOTS + 1
    fleet.settle()
    assert len(fleet.worker.running) == SLOTS + 1
    assert fleet.balancer.refusals == 0
