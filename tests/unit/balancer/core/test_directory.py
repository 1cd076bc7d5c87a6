"""Who hosts what: the answers of contract §5, before and after the first round of discovery."""

from __future__ import annotations

import pytest

from balancer.core.directory import Directory
from balancer.core.live_worker import LiveWorker
from shared.errors import Failure
from shared.ids import WorkerId
from tests.fakes.scheduler_rig import NOW_S, A, B, C, Rig

RIG = Rig()
WAIT_S = 10.0


class Town:
    """A directory with workers that come and go."""

    def __init__(self, *, discovered: bool = True) -> None:
        self.directory = Directory(WAIT_S)
        self.directory.discovered = discovered

    def join(
        self, worker: WorkerId, *functions: str, group: str = "g", contract: int = 1, order: int = 0,
        up: bool = True, retries: int = 0,
    ) -> LiveWorker:  # fmt: skip
        """Let a worker host functions."""
        facts = RIG.facts(
            worker, functions, group=group, contract=contract, order=order, retries=retries
        )
        made = LiveWorker(facts)
        self.directory.join(made, NOW_S)
        if up:
            self.directory.set_up(made, True, NOW_S)
        return made

    def check(
        self, group: str = "g", contract: int = 1, function: str = "f", *, durable: bool = False
    ) -> tuple[str, str] | None:
        """Return code and text of why a task is not taken."""
        found = self.directory.check(group, contract, function, durable=durable)
        return None if found is None else (found.code, found.message)

    def retries(self) -> int | None:
        """Return what counts as announced of g/1/f."""
        spec = self.directory.spec(("g", 1, "f"))
        return None if spec is None else spec.max_retries


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_hosted_is_taken(durable: bool) -> None:
    """By a worker that is up."""
    town = Town()
    town.join(A, "f")
    assert town.check(durable=durable) is None


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (("x", 1, "f"), ("group_not_found", "Group 'x' not found")),
        (
            ("g", 3, "f"),
            ("contract_not_found", "Contract 3 not found in group 'g', which has: 1, 2"),
        ),
        (("g", 1, "x"), ("function_not_found", "Function 'x' not found in group 'g'")),
        (("g", 2, "f"), ("function_not_found", "Function 'f' not found in group 'g'")),
    ],
)
def test_what_is_unknown_after_discovery_is_not_found(
    asked: tuple[str, int, str], answer: tuple[str, str], durable: bool
) -> None:
    """And the answer says what is missing, and which contracts there are."""
    town = Town()
    town.join(A, "f")
    town.join(B, "g", contract=2)
    assert town.check(*asked, durable=durable) == answer


def test_nothing_is_unknown_before_discovery_has_ended() -> None:
    """Some worker that has not answered yet may host it."""
    assert Town(discovered=False).check("x", 9, "y") is None


def test_a_function_without_any_worker_up_is_unavailable_after_a_while() -> None:
    """Calls get 503; durable tasks wait; a worker that comes up ends it."""
    town = Town()
    worker = town.join(A, "f")
    town.directory.set_up(worker, False, NOW_S)
    assert town.directory.desert(NOW_S + WAIT_S - 0.1) == []
    assert town.check() is None
    assert [lane.key for lane in town.directory.desert(NOW_S + WAIT_S)] == [("g", 1, "f")]
    code, text = town.check() or ("", "")
    assert code == "no_worker_available"
    assert "'f'" in text
    assert town.check(durable=True) is None
    town.directory.set_up(worker, True, NOW_S + 11)
    assert town.check() is None
    assert town.directory.desert(NOW_S + 99) == []


def test_the_answer_to_an_absence_says_when_to_come_again() -> None:
    """Retry-After is the time that workers get to come back."""
    town = Town()
    town.directory.set_up(town.join(A, "f"), False, NOW_S)
    town.directory.desert(NOW_S + WAIT_S)
    found = town.directory.check("g", 1, "f", durable=False)
    assert found is not None
    assert found.retry_after_s == WAIT_S


def test_one_worker_that_is_up_is_enough() -> None:
    """Whichever shape it is of; telling the same twice changes nothing."""
    town = Town()
    first, second = town.join(A, "f"), town.join(B, "f", "g")
    third = town.join(C, "f", "g")
    for worker in (first, second, second):
        town.directory.set_up(worker, False, NOW_S)
    assert len(town.directory.absences) == 0
    town.directory.set_up(third, False, NOW_S)
    assert len(town.directory.absences) == 2
    town.directory.set_up(first, True, NOW_S)
    assert len(town.directory.absences) == 1


def test_a_worker_that_is_down_when_its_functions_change_deserts_them() -> None:
    """A lane that begins with hosts that are all away is given up in time."""
    town = Town()
    town.join(A, "f", up=False)
    assert len(town.directory.desert(NOW_S + WAIT_S)) == 1
    town.join(B, "f", up=False)
    assert town.check() is not None


def test_a_worker_outside_any_shape_may_come_up_and_leave() -> None:
    """A retired one: nothing depends on it."""
    town = Town()
    worker = town.join(A, "f")
    town.directory.leave(worker, NOW_S)
    town.directory.leave(worker, NOW_S)
    town.directory.set_up(worker, False, NOW_S)
    assert town.check() == ("group_not_found", "Group 'g' not found")


def test_the_group_may_be_left_out_when_only_one_hosts_the_function() -> None:
    """Else the request must name it."""
    town = Town()
    town.join(A, "f", "both", group="one")
    worker = town.join(B, "both", group="two")
    assert town.directory.only_group("f", 1) == "one"
    refused = town.directory.only_group("both", 1)
    assert isinstance(refused, Failure)
    assert (refused.code, refused.message) == (
        "invalid_request",
        "Missing group, function, or contract",
    )
    town.directory.leave(worker, NOW_S)
    assert town.directory.only_group("both", 1) == "one"
    assert isinstance(town.directory.only_group("both", 2), Failure)


def test_the_group_of_an_unknown_function_is_not_refused_for_good_before_discovery() -> None:
    """503 with Retry-After: the caller comes again."""
    refused = Town(discovered=False).directory.only_group("f", 1)
    assert isinstance(refused, Failure)
    assert (refused.status, refused.retry_after_s) == (503, 1.0)


def test_the_first_worker_in_workers_json_order_is_the_reference() -> None:
    """Whoever comes and goes, and in whatever order."""
    town = Town()
    assert town.retries() is None
    second = town.join(B, "f", order=2, retries=2)
    assert town.retries() == 2
    town.join(C, "f", "g", order=3, retries=3)
    assert town.retries() == 2
    first = town.join(A, "f", order=1, retries=1)
    assert town.retries() == 1
    town.directory.leave(first, NOW_S)
    town.directory.leave(second, NOW_S)
    assert town.retries() == 3


def test_a_lane_without_hosts_and_tasks_is_forgotten() -> None:
    """And the pool with it; one where something waits stays."""
    town = Town()
    waits = town.directory.lane(("g", 1, "waits"))
    waits.waiting = 1
    worker = town.join(A, "f", "waits")
    assert town.directory.lane(("g", 1, "waits")) is waits
    town.directory.leave(worker, NOW_S)
    assert list(town.directory.lanes) == [("g", 1, "waits")]
    assert waits.down
    waits.waiting = 0
    town.directory.tidy(waits)
    assert town.directory.lanes == {}
    assert len(town.directory.absences) == 0
    assert town.directory.lane(waits.key).pool is not waits.pool


def test_a_new_shape_is_offered_what_waits_already() -> None:
    """Tasks that waited for a host are found by it."""
    town = Town()
    lane = town.directory.lane(("g", 1, "f"))
    task = RIG.task("t")
    task.seq = 4
    lane.queue.push(task)
    lane.waiting = 1
    worker = town.join(A, "f")
    assert worker.shape is not None
    assert worker.shape.heads.best() == (1, 4, lane)


def test_a_worker_that_moves_takes_its_life_with_it() -> None:
    """Up it counts as up in its new place, down it does not."""
    town = Town()
    worker = town.join(A, "f")
    town.directory.leave(worker, NOW_S)
    town.directory.join(worker, NOW_S)
    assert town.check() is None
    assert len(town.directory.absences) == 0
    town.directory.set_up(worker, False, NOW_S)
    town.directory.leave(worker, NOW_S)
    town.directory.join(worker, NOW_S)
    assert len(town.directory.absences) == 1
