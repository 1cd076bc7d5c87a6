"""Contract check: the first of workers.json is the reference, others lose only what differs."""

from __future__ import annotations

from balancer.fleet import agreement
from balancer.fleet.roster import entry_of
from balancer.fleet.worker import FleetWorker


def worker(
    name: str, order: int, *functions: str, group: str = "g", contract: int = 1
) -> FleetWorker:
    """Return a worker that hosts functions; `f+p` has the parameter p."""
    made = FleetWorker(entry_of(f"http://{name}:1"), order)
    items: list[dict[str, object]] = []
    for each in functions:
        hosted, _, param = each.partition("+")
        items.append({"name": hosted, "params": dict.fromkeys([param] if param else [])})
    made.announce(group, contract, items)
    return made


def differing(*workers: FleetWorker) -> dict[str, list[str]]:
    """Check, and return the functions that differ by worker."""
    list(agreement.check(workers))
    return {each.id: sorted(each.differences) for each in workers if each.differences}


def test_equal_workers_agree_in_any_order_of_functions() -> None:
    """Names and parameters are compared independent of their order."""
    assert differing(worker("a", 0, "x", "y+p"), worker("b", 1, "y+p", "x")) == {}


def test_the_first_of_the_file_is_the_reference() -> None:
    """What a later one lacks, has beside or declares otherwise differs there, and only there."""
    found = differing(
        worker("b", 1, "x+q", "z"), worker("a", 0, "x+p", "y"), worker("c", 2, "x+p", "y")
    )
    assert found == {"b:1": ["x", "y", "z"]}


def test_groups_and_contracts_have_references_of_their_own() -> None:
    """Workers of another group or contract are not compared."""
    assert (
        differing(
            worker("a", 0, "x"), worker("b", 1, "y", group="h"), worker("c", 2, "z", contract=2)
        )
        == {}
    )


def test_unknown_and_retired_workers_are_no_reference() -> None:
    """Who never answered, or is leaving, does not decide for the rest."""
    unknown = FleetWorker(entry_of("http://u:1"), 0)
    leaving = worker("l", 1, "old")
    leaving.retired = True
    assert differing(unknown, leaving, worker("a", 2, "x"), worker("b", 3, "y")) == {
        "b:1": ["x", "y"]
    }


def test_only_changes_are_yielded() -> None:
    """A check that finds the same again tells nobody; one that finds agreement takes it back."""
    a, b = worker("a", 0, "x"), worker("b", 1, "y")
    assert list(agreement.check([a, b])) == [b]
    assert list(agreement.check([a, b])) == []
    b.announce("g", 1, [{"name": "x"}])
    assert list(agreement.check([a, b])) == [b]
    assert b.differences == {}
