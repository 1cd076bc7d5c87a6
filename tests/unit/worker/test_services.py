"""Services are kept up, tags are kept fresh, and what an author's code does harms nobody."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from shared.retry import Backoff
from tests.fakes.waiting import wait_until
from tests.unit.worker.link_bed import StillLoad
from worker.authoring.background import ServiceDefinition, TagSource
from worker.authoring.task_function import Origin
from worker.facts import WorkerFacts
from worker.services import Patience, ServiceSupervisor, TagRefresher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

QUICK = Patience(
    check_s=0.001,
    start_s=0.05,
    status_s=0.05,
    stop_s=0.05,
    tags_s=0.05,
    backoff=Backoff(base_s=0.001, cap_s=0.002),
)
HERE = Origin("services/fake.py", 1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep the log of so many failures out of the test's output: rendering it takes longest."""
    with capture_logs():
        yield


class FakeService:
    """A service that does what the test says; shared by all its restarts."""

    def __init__(self) -> None:
        self.state: object = "fine"
        self.start_error: Exception | None = None
        self.stop_error: Exception | None = None
        self.hangs = False
        self.calls: list[str] = []

    async def start(self) -> None:
        """Start, or raise, or hang."""
        self.calls.append("start")
        if self.start_error is not None:
            raise self.start_error
        if self.hangs:
            await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Stop, or raise."""
        self.calls.append("stop")
        if self.stop_error is not None:
            raise self.stop_error

    async def status(self) -> object:
        """Return the state, or raise it."""
        if isinstance(self.state, Exception):
            raise self.state
        return self.state


class Supervised:
    """A supervisor with what it told."""

    def __init__(self, *services: FakeService) -> None:
        self.facts = WorkerFacts(StillLoad())
        self.down: list[bool] = []
        definitions = [
            ServiceDefinition(
                name=f"s{n}", description="", make=lambda each=each: each, origin=HERE
            )
            for n, each in enumerate(services)
        ]
        self.supervisor = ServiceSupervisor(
            definitions, self.facts, self.down.append, Random(3), QUICK
        )

    def status(self, place: int = 0) -> tuple[str, object]:
        """Return what is shown of a service."""
        shown = self.facts.services[place]
        return shown["status"], shown["state"]


async def test_the_worker_gives_no_slot_until_its_services_are_ready() -> None:
    """Starting counts as down; ready opens the worker and shows the state."""
    service = FakeService()
    service.state = {"pages": 3}
    bed = Supervised(service)
    bed.supervisor.start()
    assert bed.down == [True]
    await wait_until(lambda: bed.down[-1] is False, "it is ready")
    assert bed.status() == ("ready", {"pages": 3})
    await bed.supervisor.close()
    assert service.calls == ["start", "stop"]


async def test_without_services_nothing_is_down() -> None:
    """A worker that has none is open from the start."""
    bed = Supervised()
    bed.supervisor.start()
    assert bed.down == [False]
    await bed.supervisor.close()


async def test_one_service_that_is_down_is_enough() -> None:
    """The worker is open when all are ready."""
    good, bad = FakeService(), FakeService()
    bad.state = False
    bed = Supervised(good, bad)
    bed.supervisor.start()
    await wait_until(lambda: bed.status(0)[0] == "ready" and "stop" in bad.calls, "both were asked")
    assert all(bed.down)
    bad.state = True
    await wait_until(lambda: bed.down[-1] is False, "all are ready")
    await bed.supervisor.close()


async def test_a_service_that_goes_down_is_stopped_and_started_again() -> None:
    """False and an exception both mean down; the reason is shown."""
    for state, shown in ((False, False), (RuntimeError("lost its browser"), "lost its browser")):
        service = FakeService()
        bed = Supervised(service)
        bed.supervisor.start()
        await wait_until(lambda bed=bed: bed.down[-1] is False, "it is ready")
        seen: list[tuple[str, object]] = []
        bed.facts.on_change(lambda bed=bed, seen=seen: seen.append(bed.status()))
        service.state = state
        await wait_until(lambda seen=seen, shown=shown: ("down", shown) in seen, "it is down")
        service.state = "fine again"
        await wait_until(lambda bed=bed: bed.status() == ("ready", "fine again"), "it is up again")
        await bed.supervisor.close()
        assert service.calls.count("start") >= 2
        assert service.calls[:3] == ["start", "stop", "start"]


async def test_a_service_that_does_not_start_is_tried_again() -> None:
    """Raising and hanging are the same: down, stopped, started again."""
    for trouble in ("raises", "hangs"):
        service = FakeService()
        service.start_error = OSError("no port") if trouble == "raises" else None
        service.hangs = trouble == "hangs"
        service.stop_error = ValueError("never ran")
        bed = Supervised(service)
        bed.supervisor.start()
        await wait_until(lambda s=service: s.calls.count("start") >= 3, "it was tried again")
        assert all(bed.down)
        service.start_error, service.hangs = None, False
        await wait_until(lambda bed=bed: bed.down[-1] is False, "it is ready at last")
        await bed.supervisor.close()


async def test_a_state_without_a_json_form_is_shown_as_text() -> None:
    """What /health shows must be showable."""
    service = FakeService()
    service.state = object
    bed = Supervised(service)
    bed.supervisor.start()
    await wait_until(lambda: bed.status()[0] == "ready", "it is ready")
    assert bed.status()[1] == "<class 'object'>"
    await bed.supervisor.close()


class Teller:
    """A source of tags."""

    def __init__(self, tags: object) -> None:
        self.tags = tags
        self.calls = 0

    async def tell(self) -> Mapping[str, object]:
        """Return the tags, or raise them."""
        self.calls += 1
        if isinstance(self.tags, Exception):
            raise self.tags
        return self.tags  # pyright: ignore[reportReturnType]  # authors return what they like


def _sources(*tellers: Teller) -> list[TagSource]:
    return [
        TagSource(name=f"t{n}", handler=each.tell, interval_s=0.001, origin=HERE)
        for n, each in enumerate(tellers)
    ]


async def test_tags_are_told_at_the_start_and_when_they_change() -> None:
    """Sources are merged, later ones over earlier; a change is shown at once, no change is none."""
    one, two = Teller({"a": 1, "b": 1}), Teller({"b": 2})
    facts = WorkerFacts(StillLoad())
    changes: list[dict[str, object]] = []
    facts.on_change(lambda: changes.append(facts.tags))
    refresher = TagRefresher(_sources(one, two), facts, QUICK)
    await refresher.start()
    assert changes[-1] == {"a": 1, "b": 2}
    count = len(changes)
    await wait_until(lambda: one.calls > 3, "it was asked again")
    assert len(changes) == count
    one.tags = {"a": 9}
    await wait_until(lambda: facts.tags == {"a": 9, "b": 2}, "the change is shown")
    await refresher.close()


async def test_a_tag_that_is_no_text_is_shown_all_the_same() -> None:
    """A file name that is no UTF-8 must not keep the worker from saying anything on its links."""
    teller = Teller({"path": "/tmp/\udcff", "list": [1, "\udcff"]})
    facts = WorkerFacts(StillLoad())
    refresher = TagRefresher(_sources(teller), facts, QUICK)
    await refresher.start()
    assert msgspec.json.decode(facts.encoded())["tags"] == {"path": "/tmp/?", "list": [1, "?"]}
    await refresher.close()


async def test_a_source_that_fails_keeps_what_it_said_last() -> None:
    """An exception, or what is no mapping, changes nothing."""
    teller = Teller({"a": 1})
    facts = WorkerFacts(StillLoad())
    refresher = TagRefresher(_sources(teller), facts, QUICK)
    await refresher.start()
    for trouble in (ValueError("no"), ["no", "mapping"]):
        teller.tags = trouble
        asked = teller.calls
        await wait_until(lambda asked=asked: teller.calls > asked + 1, "it was asked again")
        assert facts.tags == {"a": 1}
    await refresher.close()


def test_facts_are_json_and_bounded() -> None:
    """Tags that are too large are left out, so that they do not close every link."""
    facts = WorkerFacts(StillLoad())
    facts.set_tags({"small": "tag"})
    decoded = msgspec.json.decode(facts.encoded())
    assert decoded == {"tags": {"small": "tag"}, "services": [], "system": StillLoad().read()}
    facts.set_tags({"large": "x" * 300_000})
    assert msgspec.json.decode(facts.encoded())["tags"] == {}
