"""The request half of the edge codec: it takes what a task says, word for word, and survives everything else."""

from __future__ import annotations

import json
import math
import re
from itertools import product
from typing import NoReturn, cast

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.codec import EdgeHeaders, parse_task
from shared.errors import CODES, Failure
from shared.task import TaskRequest
from tests.fuzz.amount import examples
from tests.fuzz.codec_tasks import (
    BODIES,
    BOM,
    MSGPACK,
    NEARLY_RIGHT,
    RULES,
    JsonObject,
    damaged,
    is_msgpack,
    objects,
    tasks,
    texts,
    values,
    written,
)

CONTENT_TYPES = st.sampled_from([None, "application/json", MSGPACK])
LONELY = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(body: bytes, content_type: str | None, side: str) -> TaskRequest | Failure:
    """Return what the codec makes of a body, which is a task or a failure of the table."""
    headers = EdgeHeaders(content_type=content_type, wr_auth="Bearer k", correlation_id="c")
    found = parse_task(body, headers, RULES[side])
    if isinstance(found, Failure):
        assert 400 <= CODES[found.code].status < 500
        assert found.message
        return found
    assert isinstance(json.loads(found.input), dict)
    assert found.metadata is None or isinstance(json.loads(found.metadata), dict)
    return found


def given_or(task: JsonObject, name: str, default: object) -> object:
    """Return a field; null is as good as absent."""
    value = task.get(name)
    return default if value is None else value


@examples(5)
@given(data=st.data(), task=tasks())
def test_a_request_holds_what_the_task_says(data: st.DataObject, task: JsonObject) -> None:
    """Every field, whatever form the body has; of JSON, input and metadata are slices of the body."""
    body, content_type = data.draw(written(task))
    for side in RULES:
        request = parsed(body, content_type, side)
        assert isinstance(request, TaskRequest), request
        assert_says(request, task)
        group = "" if side == "worker" else given_or(task, "group", "the-only-one")
        assert request.group == group
        assert (request.worker_key, request.correlation_id) == ("k", "c")
        if not is_msgpack(content_type):
            assert request.input in body or task.get("input") is None
            assert (request.metadata or b"") in body


def assert_says(request: TaskRequest, task: JsonObject) -> None:
    """Fail unless a request has the fields of a task."""
    assert request.function == task["function"]
    assert request.contract == task["contract"]
    assert json.loads(request.input) == given_or(task, "input", {})
    assert request.priority == task.get("priority", 1)
    assert not isinstance(request.priority, bool)
    assert request.mode.value == task.get("mode", "sync")
    assert request.timeout_s == task.get("timeout_s")
    assert request.deadline_s == task.get("deadline_s")
    assert request.max_attempts == task.get("max_attempts")
    metadata = None if request.metadata is None else json.loads(request.metadata)
    assert metadata == task.get("metadata")
    codes = None if request.retry_on is None else list(request.retry_on)
    assert codes == task.get("retry_on")
    if task.get("mode") != "webhook":
        assert request.webhook is None
        return
    wanted = cast("JsonObject", task["webhook"])
    assert request.webhook is not None
    assert request.webhook.url == wanted["url"]
    assert dict(request.webhook.headers) == given_or(wanted, "headers", {})
    assert request.webhook.envelope is given_or(wanted, "envelope", False)


@examples(10)
@given(
    body=st.binary(max_size=200),
    prefix=st.sampled_from([b"", BOM, b"{", b"\x81\xa5input"]),
    content_type=CONTENT_TYPES,
)
def test_bytes_of_any_kind_are_survived(
    body: bytes, prefix: bytes, content_type: str | None
) -> None:
    """Noise is a failure of the table, never an exception."""
    for side in RULES:
        assert isinstance(parsed(prefix + body, content_type, side), Failure)


@examples(40)
@given(data=st.data(), chosen=st.sampled_from(BODIES), other=CONTENT_TYPES, keep=st.booleans())
def test_damaged_bodies_are_survived(
    data: st.DataObject, chosen: tuple[bytes, str | None], other: str | None, keep: bool
) -> None:
    """A body with some bytes changed, or under a content type that is not its own."""
    broken = data.draw(damaged(chosen[0]))
    content_type = chosen[1] if keep else other
    for side in RULES:
        found = parsed(broken, content_type, side)
        if not is_msgpack(content_type):
            assert_as_python_reads(broken, found)


def assert_as_python_reads(body: bytes, found: TaskRequest | Failure) -> None:
    """Fail when Python's JSON reader and the codec disagree about whether this is JSON, or what it says.

    Lone surrogates are left out: Python takes them, though no UTF-8 can carry them on.
    """
    try:
        text = body.removeprefix(BOM).decode()
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        assert isinstance(found, Failure)
        assert found.code == "invalid_json"
        return
    if isinstance(found, TaskRequest):
        said = cast("JsonObject", value)
        assert (found.function, found.contract) == (said["function"], said["contract"])
        assert json.loads(found.input) == given_or(said, "input", {})
    elif isinstance(value, dict) and not LONELY.search(text):
        assert found.code != "invalid_json", body


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


OWN_CODES = {
    "function": {"invalid_function", "invalid_request"},
    "contract": {"invalid_contract", "invalid_request"},
    "group": {"invalid_request"},
    "input": {"invalid_input"},
    "priority": {"invalid_priority"},
    "mode": {"invalid_mode", "invalid_webhook"},  # it may have become webhook, and lack one
    "webhook": {"invalid_webhook"},
    "timeout_s": {"invalid_field"},
    "deadline_s": {"invalid_field"},
    "max_attempts": {"invalid_field"},
    "metadata": {"invalid_field"},
    "retry_on": {"invalid_field"},
    "delay_s": {"invalid_field"},
    "run_at": {"invalid_field"},
}


@pytest.mark.parametrize("name", OWN_CODES)
def test_a_field_that_is_nearly_right_is_taken_as_it_is_or_refused_by_its_own_code(
    name: str,
) -> None:
    """Each of the values that somebody may mean well: it is what the request says, or what the failure is about."""
    for wrong in NEARLY_RIGHT:
        check_field(name, wrong)


@examples(10)
@given(name=st.sampled_from(sorted(OWN_CODES)), wrong=values)
def test_a_field_of_any_kind_is_taken_as_it_is_or_refused_by_its_own_code(
    name: str, wrong: object
) -> None:
    """The same with any value at all."""
    check_field(name, wrong)


def check_field(name: str, wrong: object) -> None:
    """Send a task with a value in one field, as JSON and as msgpack, to both sides."""
    mode = "webhook" if name == "webhook" else "sync"
    task: JsonObject = {"group": "g", "function": "f", "contract": 1, "mode": mode, name: wrong}
    forms = ((json.dumps(task).encode(), None), (msgpack.packb(task), MSGPACK))
    for side, (body, content_type) in product(RULES, forms):
        found = parsed(body, content_type, side)
        if isinstance(found, Failure):
            own = OWN_CODES[name] if is_finite(wrong) else {"invalid_json"}
            assert found.code in own, (found, wrong)
            assert found.code != "invalid_field" or name in found.message
        else:
            nobody_looks = side == "worker" and name == "group"
            assert nobody_looks or not isinstance(wrong, bool), "true is no number and no text"
            assert_says(found, task)


def is_finite(value: object) -> bool:
    """Tell whether JSON has a form for a value."""
    return not isinstance(value, float) or math.isfinite(value)


@examples(2)
@given(members=objects, key=texts)
def test_unknown_members_are_ignored(members: JsonObject, key: str) -> None:
    """Newer callers and Andera's balancer send more than is read."""
    plain: JsonObject = {"function": "f", "contract": 1}
    more = {f"_{name}": value for name, value in {**members, key: 1}.items()}
    for side in RULES:
        with_more = parsed(json.dumps({**more, **plain}).encode(), None, side)
        assert with_more == parsed(json.dumps(plain).encode(), None, side)
