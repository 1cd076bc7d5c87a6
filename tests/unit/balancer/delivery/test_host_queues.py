"""Webhooks that wait in memory: limits hold, hosts take turns, nothing is lost or doubled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balancer.delivery.host_queues import Host, HostQueues
from tests.fakes.stored_tasks import webhook

LIMIT = 2


def _filled(*hosts: str) -> HostQueues:
    queues = HostQueues(LIMIT)
    for number, host in enumerate(hosts):
        queues.add(webhook(f"t{number}", url=f"http://{host}/"))
    return queues


def _begin(queues: HostQueues) -> tuple[Host, str]:
    begun = queues.begin()
    assert begun is not None
    return begun[0], begun[1].task_id


def test_hosts_take_turns_and_each_keeps_its_order() -> None:
    """A long queue of one host does not delay the row of another by more than one try."""
    queues = _filled("a", "a", "a", "b")
    assert [_begin(queues)[1] for _ in range(3)] == ["t0", "t3", "t1"]


def test_a_host_at_its_limit_begins_again_when_a_try_has_ended() -> None:
    """The limit is of tries at once, not of tries."""
    queues = _filled("a", "a", "a")
    host, _ = _begin(queues)
    _begin(queues)
    assert queues.begin() is None
    queues.ended(host)
    assert _begin(queues)[1] == "t2"


def test_what_waits_is_counted_in_rows_bytes_and_hosts() -> None:
    """The deliverer's bounds rest on it."""
    queues = _filled("a", "a", "b")
    size = len(webhook("x").body)
    assert (queues.waiting, queues.waiting_bytes, queues.trying) == (3, 3 * size, 0)
    assert (queues.waiting_hosts(), queues.waiting_for("a:80")) == (["a:80", "b:80"], 2)
    _begin(queues)
    assert (queues.waiting, queues.waiting_bytes, queues.trying) == (2, 2 * size, 1)
    assert (queues.waiting_for("elsewhere:80"), queues.bytes_for("elsewhere:80")) == (0, 0)
    assert (queues.bytes_for("a:80"), queues.bytes_for("b:80")) == (size, size)
    queues.clear()
    assert queues.bytes_for("a:80") == 0


def test_clearing_returns_what_waited_and_leaves_what_is_tried() -> None:
    """A try under way still counts against its host afterwards."""
    queues = _filled("a", "a", "b")
    host, _ = _begin(queues)
    assert [row.task_id for row in queues.clear()] == ["t1", "t2"]
    assert (queues.waiting, queues.waiting_bytes, queues.waiting_hosts()) == (0, 0, [])
    assert queues.begin() is None
    for number in (8, 9):
        queues.add(webhook(f"t{number}", url="http://a/"))
    _begin(queues)
    assert queues.begin() is None  # two tries at once: the one from before, and this one
    queues.ended(host)
    assert _begin(queues)[1] == "t9"


@given(st.lists(st.sampled_from(["a", "b", "c", "begin", "end"]), max_size=60))
def test_nothing_is_lost_or_doubled_and_no_limit_is_passed(steps: list[str]) -> None:
    """Whatever comes in whatever order, every row begins once, and each host's in their order."""
    queues = HostQueues(LIMIT)
    added: dict[str, list[str]] = {}
    begun: dict[str, list[str]] = {}
    tried: list[Host] = []

    def begin() -> bool:
        following = queues.begin()
        if following is None:
            return False
        tried.append(following[0])
        begun.setdefault(following[0].name, []).append(following[1].task_id)
        assert sum(host.name == following[0].name for host in tried) <= LIMIT
        return True

    for number, step in enumerate(steps):
        if step == "begin":
            begin()
        elif step == "end" and tried:
            queues.ended(tried.pop(0))
        elif step != "end":
            added.setdefault(f"{step}:80", []).append(f"t{number}")
            queues.add(webhook(f"t{number}", url=f"http://{step}/"))
        assert queues.trying == len(tried)
    while begin() or tried:
        if tried:
            queues.ended(tried.pop(0))
    assert begun == added
    assert (queues.waiting, queues.waiting_bytes, queues.trying) == (0, 0, 0)
