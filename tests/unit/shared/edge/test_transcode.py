"""msgpack at the edge, in and out."""

from __future__ import annotations

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.codec import EdgeHeaders, WorkerRules, parse_task
from shared.edge.transcode import json_from_msgpack, msgpack_from_json
from shared.errors import Failure
from shared.task import TaskRequest
from tests.unit.shared.edge.rows import Hosts

PACKED = EdgeHeaders(content_type="application/msgpack")

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_a_value_survives_both_ways(value: object) -> None:
    """What JSON can say comes out as it went in."""
    text = json_from_msgpack(msgpack.packb(value))
    assert isinstance(text, bytes)
    assert json.loads(text) == value
    packed = msgpack_from_json(text)
    assert packed is not None
    assert msgpack.unpackb(packed) == value


BINARY = "Invalid input: binary values cannot be carried as JSON"


@pytest.mark.parametrize(
    ("packed", "code", "text"),
    [
        (msgpack.packb({"input": {"a": b"\x00"}}), "invalid_input", BINARY),
        (msgpack.packb({b"input": 1}), "invalid_input", BINARY),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "invalid_input", BINARY),
        (msgpack.packb(msgpack.Timestamp(1, 0)), "invalid_input", BINARY),
        (msgpack.packb({"a": float("nan")}), "invalid_json", "Invalid JSON body"),
        (msgpack.packb({"a": float("inf")}), "invalid_json", "Invalid JSON body"),
        (msgpack.packb({1: 2}), "invalid_json", "Invalid JSON body"),
        (b"", "invalid_json", "Invalid JSON body"),
        (b"\xc1", "invalid_json", "Invalid JSON body"),
        (b"\x81", "invalid_json", "Invalid JSON body"),
        (b"\x01\x01", "invalid_json", "Invalid JSON body"),
        (b"\xa1\xff", "invalid_json", "Invalid JSON body"),
        (b"\x91" * 100_000, "invalid_json", "Invalid JSON body"),
        (b"\x91" * 1000 + b"\x01", "invalid_json", "Invalid JSON body"),
        (b"\xdd\xff\xff\xff\xff", "invalid_json", "Invalid JSON body"),
        (b"\xdf\xff\xff\xff\xff", "invalid_json", "Invalid JSON body"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_json_cannot_say_is_refused(packed: bytes, code: str, text: str) -> None:
    """Binary values by name, everything broken or not finite as a body that cannot be read."""
    found = json_from_msgpack(packed)
    assert isinstance(found, Failure)
    assert (found.code, found.status, found.message) == (code, 400, text)


def test_a_task_may_come_as_msgpack() -> None:
    """The same checks run on it, and its input has become JSON text."""
    body = msgpack.packb(
        {"function": "hello", "contract": 1, "input": {"name": "Ä"}, "priority": 3}
    )
    parsed = parse_task(body, PACKED, WorkerRules(1, Hosts()))
    assert isinstance(parsed, TaskRequest)
    assert (parsed.input, parsed.priority) == ('{"name":"Ä"}'.encode(), 3)


def test_a_json_body_under_a_msgpack_type_is_no_msgpack() -> None:
    """The Content-Type is believed for msgpack."""
    parsed = parse_task(b'{"function":"hello","contract":1}', PACKED, WorkerRules(1, Hosts()))
    assert isinstance(parsed, Failure)
    assert parsed.code == "invalid_json"


@pytest.mark.parametrize(
    "text", [b"18446744073709551616", b"1e999", b'{"a":NaN}', b'"\\ud800"', b""]
)
def test_an_answer_that_msgpack_cannot_say_stays_json(text: bytes) -> None:
    """Accept is a wish; the result matters more."""
    assert msgpack_from_json(text) is None
