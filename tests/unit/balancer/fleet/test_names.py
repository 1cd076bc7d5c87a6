"""`dns+http://`: one entry for every address of a name, and the last answer when there is none."""

from __future__ import annotations

import asyncio

import pytest

from balancer.fleet import names as names_module
from balancer.fleet.names import Names, addresses_of
from balancer.fleet.roster import Entry, parse
from tests.fakes.small_names import ScriptedNames
from tests.fakes.waiting import wait_until

ENTRIES = parse(
    '["http://a:1", {"url": "dns+http://w.test:3", "weight": 2, "auth_key": "k"}, "http://b:1"]', {}
)


async def _asked(names: Names, entries: list[Entry]) -> None:
    names.ask(entries)
    await wait_until(lambda: names.asked(entries), "every name was asked")


def _ids(names: Names, entries: list[Entry]) -> list[str]:
    return [entry.id for entry in names.expand(entries)]


async def test_a_name_is_replaced_by_its_addresses_at_its_own_place() -> None:
    """Places, weight and key are kept; addresses are sorted, because resolvers rotate them."""
    resolver = ScriptedNames({"w.test": ["10.0.0.2", "10.0.0.1", "::1", "10.0.0.1"]})
    names = Names(lambda: None, resolver.resolve)
    assert _ids(names, ENTRIES) == ["a:1", "b:1"]
    await _asked(names, ENTRIES)
    assert _ids(names, ENTRIES) == ["a:1", "10.0.0.1:3", "10.0.0.2:3", "[::1]:3", "b:1"]
    found = names.expand(ENTRIES)[1]
    assert (found.url, found.weight, found.auth_key, found.dns) == (
        "http://10.0.0.1:3",
        2.0,
        "k",
        False,
    )


async def test_a_worker_listed_twice_counts_once() -> None:
    """An address that is also listed by itself is one worker, at its first place."""
    names = Names(lambda: None, ScriptedNames({"w.test": ["10.0.0.1"]}).resolve)
    entries = parse('["dns+http://w.test:3", "http://10.0.0.1:3"]', {})
    await _asked(names, entries)
    assert _ids(names, entries) == ["10.0.0.1:3"]


async def test_no_answer_keeps_the_last_one() -> None:
    """A name that suddenly resolves to nothing is no order to drain the fleet."""
    resolver = ScriptedNames({"w.test": ["10.0.0.1"]})
    changes: list[int] = []
    names = Names(lambda: changes.append(resolver.asked), resolver.resolve)
    await _asked(names, ENTRIES)
    for answer, expected in (
        ([], "10.0.0.1:3"),
        (["10.0.0.9"], "10.0.0.9:3"),
        ([], "10.0.0.9:3"),
        (["10.0.0.9"], "10.0.0.9:3"),
    ):
        resolver.answers["w.test"] = answer
        asked = resolver.asked
        names.ask(ENTRIES)
        await wait_until(lambda asked=asked: resolver.asked > asked, "it was asked again")
        await asyncio.sleep(0)
        assert _ids(names, ENTRIES) == ["a:1", expected, "b:1"]
    assert changes == [1, 3]  # the first answer, and the one that differed
    await names.close()


async def test_a_failure_counts_as_asked() -> None:
    """A name that has never had an address does not keep the first round open."""
    names = Names(lambda: None, ScriptedNames({}).resolve)
    assert not names.asked(ENTRIES)
    await _asked(names, ENTRIES)
    assert _ids(names, ENTRIES) == ["a:1", "b:1"]


async def test_a_resolver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the question has failed; meanwhile the name is asked for once only."""
    monkeypatch.setattr(names_module, "RESOLVE_S", 0.02)
    resolver = ScriptedNames({}, hangs={"w.test"})
    names = Names(lambda: None, resolver.resolve)
    for _ in range(3):
        names.ask(ENTRIES)
        await asyncio.sleep(0)
    assert resolver.asked == 1
    await _asked(names, ENTRIES)


async def test_closing_ends_the_questions() -> None:
    """Nothing is left that asks."""
    names = Names(lambda: None, ScriptedNames({}, hangs={"w.test"}).resolve)
    names.ask(ENTRIES)
    await asyncio.sleep(0)
    await names.close()


async def test_the_system_s_resolver_is_asked_for_addresses() -> None:
    """An address resolves to itself."""
    assert await addresses_of("127.0.0.1", 80) == ["127.0.0.1"]
