"""workers.json: what is read, what is refused, and what a broken file leaves in force."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from balancer.fleet.roster import RosterError, RosterFile, parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("item", "url", "worker"),
    [
        ("http://10.0.0.7:3000", "http://10.0.0.7:3000", "10.0.0.7:3000"),
        ("http://10.0.0.7:3000/", "http://10.0.0.7:3000", "10.0.0.7:3000"),
        ("https://w.example", "https://w.example:443", "w.example:443"),
        ("http://[::1]:3000", "http://[::1]:3000", "[::1]:3000"),
        ({"url": "http://w:1", "extra": True}, "http://w:1", "w:1"),
    ],
)
def test_entries_are_urls_or_objects(item: object, url: str, worker: str) -> None:
    """An entry is a URL or an object with one; unknown members are ignored."""
    (entry,) = parse(json.dumps([item]), {})
    assert (entry.url, entry.id) == (url, worker)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("{}", "expected a JSON array"),
        ("[1]", "entry 0: expected a URL or an object"),
        ('[{"weight": 1}]', "entry 0: url is missing"),
        ('["ftp://x"]', "entry 0: expected http://"),
        ('["http://x:99999"]', "entry 0: Port out of range"),
        ('["http://u:p@x"]', "entry 0: a worker's URL has no path, query or user"),
        ('["http://x/task"]', "entry 0: a worker's URL has no path"),
        ('["http://a", {"url": "http://b", "weight": 0}]', "entry 1: weight must be"),
        ('[{"url": "http://b", "weight": true}]', "entry 0: weight must be"),
        ('[{"url": "http://b", "auth_key": 5}]', "entry 0: auth_key must be a string"),
        ('[{"url": "http://b", "auth_key_env": "NOPE"}]', "variable 'NOPE' of auth_key_env"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(text: str, reason: str) -> None:
    """A file that cannot be used says which entry is wrong and why."""
    with pytest.raises(RosterError, match=reason.replace("(", r"\(")):
        parse(text, {})


def test_duplicates_are_dropped_and_the_order_is_kept() -> None:
    """The first of two equal URLs stands; places follow the file."""
    found = parse('["http://b:1", "http://a:1", {"url": "http://b:1/", "weight": 5}]', {})
    assert [(entry.id, entry.weight) for entry in found] == [("b:1", 1.0), ("a:1", 1.0)]


def test_keys_come_from_the_entry_or_its_variable_and_are_not_shown() -> None:
    """auth_key and auth_key_env give the worker's key; no repr shows it."""
    text = '[{"url": "http://a", "auth_key": "s3cret"}, {"url": "http://b", "auth_key_env": "K"}]'
    found = parse(text, {"K": "other"})
    assert [entry.auth_key for entry in found] == ["s3cret", "other"]
    assert "s3cret" not in repr(found)


def test_names_that_stand_for_many_are_marked() -> None:
    """`dns+http://` marks an entry as a name to expand."""
    (entry,) = parse('["dns+http://workers:3000"]', {})
    assert (entry.dns, entry.url) == (True, "http://workers:3000")


def test_a_broken_file_keeps_the_last_good_list(tmp_path: Path) -> None:
    """Broken, missing and repaired files: the list in force is the last good one, with the problem named."""
    path = tmp_path / "workers.json"
    file = RosterFile(path, {})
    assert file.look()
    assert file.entries == []
    assert file.problem is not None
    assert "missing" in file.problem
    path.write_text('["http://a:1"]')
    assert file.look()
    assert [entry.id for entry in file.entries] == ["a:1"]
    assert file.problem is None
    assert not file.look()
    path.write_text('["http://a:1", ')
    assert file.look()
    assert [entry.id for entry in file.entries] == ["a:1"]
    assert "not JSON" in (file.problem or "")
    path.unlink()
    assert file.look()
    assert [entry.id for entry in file.entries] == ["a:1"]
    path.write_text('["http://a:1", "http://b:1"]')
    assert file.look()
    assert len(file.entries) == 2
    assert file.problem is None
