"""Fingerprints: equal for payloads that mean the same, different for all others."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from balancer.delivery.fingerprint import fingerprint
from shared.task import Mode, WebhookTarget
from tests.fakes.engine_rig import request

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOOK = WebhookTarget(url="http://h/", headers=(("a", "1"),))

SAME = [
    (b'{"a":1,"b":2}', b'{ "b" : 2,\n "a" : 1 }'),
    (b'{"a":1}', b'{"a":1.0}'),
    (b'{"a":10}', b'{"a":1e1}'),
    (b'{"a":0}', b'{"a":-0.0}'),
    (b'{"a":{"x":1,"y":[1,2]}}', b'{"a":{"y":[1.0,2],"x":1}}'),
    (b'{"a":"\\u00e9"}', '{"a":"é"}'.encode()),
    (b'{"a":0.1}', b'{"a":0.10}'),
]
DIFFERENT = [
    (b'{"a":1}', b'{"a":2}'),
    (b'{"a":1}', b'{"a":"1"}'),
    (b'{"a":1}', b'{"a":true}'),
    (b'{"a":null}', b"{}"),
    (b'{"a":[1,2]}', b'{"a":[2,1]}'),
    (b'{"a":9007199254740993}', b'{"a":9007199254740992}'),
    (b'{"a":1e999}', b'{"a":1e998}'),
    (b'{"a":1e999}', b'{"a":"1e999"}'),
    (b'{"a":' + b"1" * 5000 + b"}", b'{"a":' + b"1" * 5001 + b"}"),
    (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' + b"[" * 5001 + b"]" * 5001 + b"}"),
]
OTHERS: list[dict[str, object]] = [
    {"function": "other"},
    {"contract": 2},
    {"group": "other"},
    {"mode": Mode.WEBHOOK},
    {"webhook": HOOK},
    {"priority": 2},
    {"metadata": b"{}"},
    {"timeout_s": 1.0},
    {"deadline_s": 1.0},
    {"max_attempts": 1},
    {"delay_s": 1.0},
    {"run_at": NOON},
    {"retry_on": ("timeout",)},
]


def of(content: bytes = b"{}") -> str:
    """Return the fingerprint of a request for an input."""
    return fingerprint(request(input=content))


def with_members(**members: object) -> str:
    """Return the fingerprint of a request that says something else, too."""
    return fingerprint(structs.replace(request(), **members))


@pytest.mark.parametrize(("left", "right"), SAME)
def test_payloads_that_mean_the_same_are_equal(left: bytes, right: bytes) -> None:
    """Order and white space of objects do not matter, and 1 and 1.0 are one number."""
    assert of(left) == of(right)
    assert with_members(metadata=left) == with_members(metadata=right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_payloads_that_mean_something_else_differ(left: bytes, right: bytes) -> None:
    """However large or deep they are."""
    assert of(left) != of(right)


@pytest.mark.parametrize("members", OTHERS, ids=[str(next(iter(each))) for each in OTHERS])
def test_every_field_that_changes_what_is_done_matters(members: dict[str, object]) -> None:
    """One of them is enough for a conflict."""
    assert with_members(**members) != of()


@pytest.mark.parametrize("member", ["worker_key", "correlation_id"])
def test_what_changes_nothing_does_not_matter(member: str) -> None:
    """A client that repeats a request may have another trace, and a key that was rotated."""
    assert with_members(**{member: "other"}) == of()


def test_one_moment_and_one_set_of_codes_are_the_same_however_written() -> None:
    """Offsets, orders and repetitions are ways of writing."""
    there = NOON.astimezone(timezone(timedelta(hours=3)))
    assert with_members(run_at=NOON) == with_members(run_at=there)
    codes = ("timeout", "function_error")
    again = (*reversed(codes), "timeout")
    assert with_members(retry_on=codes) == with_members(retry_on=again)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_object_equals_itself_written_otherwise(value: dict[str, object]) -> None:
    """Indented, escaped, its members the other way round."""
    turned = dict(reversed(value.items()))
    one = json.dumps(value, ensure_ascii=True).encode()
    other = json.dumps(turned, ensure_ascii=False, indent=2).encode("utf-8", "surrogatepass")
    try:
        other.decode()
    except UnicodeDecodeError:
        return  # no body of UTF-8 can say it
    assert of(one) == of(other)
