"""One listed worker: what it tells is taken tolerantly, and shown as the contract says."""

from __future__ import annotations

import json

import pytest

from balancer.fleet.roster import entry_of
from balancer.fleet.slot_socket import report_of_view
from balancer.fleet.worker import MAX_FACT_BYTES, FleetWorker
from shared.ids import BootId
from shared.slot_report import SlotReport
from tests.fakes.engine_rig import EngineRig
from tests.fakes.worker_port import ScriptedWorker

UNKNOWN = {"id", "url", "status", "weight", "link"}
EIGHT = {"group", "contract", "slots", "functions", "tags", "services", "system", "websocketPort"}


def make() -> FleetWorker:
    """Return a worker of which nothing is known."""
    return FleetWorker(entry_of("http://w:3", weight=2.0), 4)


def test_an_unknown_worker_shows_what_its_entry_says() -> None:
    """The eight members of the contract are absent until they are known."""
    shown = make().view()
    assert shown == {
        "id": "w:3", "url": "http://w:3", "status": "unreachable", "weight": 2.0, "link": "none",
    }  # fmt: skip


async def test_a_known_worker_shows_all_of_it() -> None:
    """Everything that was told is shown, and nothing of its key."""
    rig = EngineRig()
    await rig.start()
    worker = FleetWorker(entry_of("http://w:3", auth_key="s3cret"), 0)
    worker.announce("g", 2, [{"name": "f"}])
    worker.learn({"tags": {"a": 1}, "services": [], "system": {"uptime": 1}, "other": 5})
    worker.report = SlotReport(available=1, limit=2, used=1, queue=3, stuck=1)
    worker.websocket_port, worker.port = 3, ScriptedWorker(rig.engine)
    shown = worker.view()
    assert shown.keys() >= UNKNOWN | EIGHT
    assert shown["status"] == "ready"
    assert shown["slots"] == {"used": 1, "available": 1, "limit": 2, "queue": 3}
    assert (shown["stuck"], shown["tags"]) == (1, {"a": 1})
    assert "other" not in shown
    assert "s3cret" not in json.dumps(shown)
    worker.report = SlotReport(maintenance=True)
    assert worker.status == "maintenance"
    worker.silent = True
    assert worker.status == "unreachable"


@pytest.mark.parametrize("functions", [None, 5, {}, "x", [None, 5, {}, {"name": ""}, {"name": 5}]])
def test_functions_that_cannot_be_read_are_left_out(functions: object) -> None:
    """Nonsense in the list of functions is no function, and no error."""
    worker = make()
    worker.announce("g", 1, functions)
    assert worker.functions == {}


def test_an_announcement_says_whether_it_is_news() -> None:
    """The same again is none; another group, contract or list is."""
    worker = make()
    assert worker.announce("g", 1, [{"name": "f"}])
    assert not worker.announce("g", 1, [{"name": "f"}])
    assert worker.announce("g", 2, [{"name": "f"}])
    assert worker.announce("h", 2, [{"name": "f"}])
    assert worker.announce("h", 2, [{"name": "f", "description": "later"}])


@pytest.mark.parametrize("raw", [b"", b"{", b"5", b"[]", b'{"tags": 1' + b" " * MAX_FACT_BYTES])
def test_facts_that_cannot_be_read_change_nothing(raw: bytes) -> None:
    """What is no object, no JSON or too long is ignored."""
    worker = make()
    worker.learn_json(b'{"tags": {"a": 1}}')
    worker.learn_json(raw)
    assert worker.facts == {"tags": {"a": 1}}


def test_the_core_is_told_what_may_run_there() -> None:
    """Functions that differ are hosted and not eligible; the link decides the kind."""
    worker = make()
    worker.announce("g", 1, [{"name": "f"}, {"name": "h"}])
    worker.boot = BootId("b")
    worker.differences = {"h": "differs"}
    facts = worker.core_facts()
    assert (facts.eligible, set(facts.functions)) == (frozenset({"f"}), {"f", "h"})
    assert (facts.kind, facts.order, facts.weight, facts.boot) == ("http", 4, 2.0, "b")
    worker.link = "cabrank"
    assert worker.core_facts().kind == "link"
    assert worker.view()["contractMismatchReason"] == "differs"
    assert worker.view()["contractValid"] is False


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ({"used": 1, "available": 2, "limit": 3, "queue": 4}, (1, 2, 3, 4)),
        ({"used": 1.9, "available": -5, "limit": 3}, (1, 0, 3, 0)),
        ({"used": "1", "available": None, "limit": [], "queue": {}}, (0, 0, 0, 0)),
        ({"limit": float("inf"), "used": float("nan"), "available": 10**400}, (0, 10**400, 0, 0)),
        ({}, (0, 0, 0, 0)),
    ],
)
def test_slots_are_read_tolerantly(slots: object, expected: tuple[int, int, int, int]) -> None:
    """What is no finite number is zero, and nothing is negative."""
    report = report_of_view({"slots": slots, "status": "maintenance"})
    assert report is not None
    assert (report.used, report.available, report.limit, report.queue) == expected
    assert report.maintenance


@pytest.mark.parametrize("told", [{}, {"slots": 5}, {"slots": None}])
def test_no_slots_are_no_report(told: dict[str, object]) -> None:
    """A message without slots changes none."""
    assert report_of_view(told) is None
