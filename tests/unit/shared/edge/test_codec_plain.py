"""The fast way of the edge codec: whatever a body is, it answers as the checks field by field do."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.capability import FunctionSpec
from shared.edge import codec
from shared.edge.codec import (
    BalancerRules,
    EdgeHeaders,
    TaskRules,
    WorkerRules,
    parse_by_field,
    parse_task,
)
from shared.edge.limits import MAX_CONTRACT, MAX_NAME
from shared.errors import Failure, failure
from shared.task import PRIORITY_LAST, TaskRequest

BOM = b"\xef\xbb\xbf"
PLAIN = b'{"group":"g","function":"f","input":{"a":1},"contract":1,"priority":1,"mode":"sync"}'


class Worker(NamedTuple):
    """A worker that hosts `f`."""

    maintenance: bool

    def find_function(self, name: str) -> FunctionSpec | None:
        """Return `f`."""
        return FunctionSpec(name=name) if name == "f" else None


class Fleet(NamedTuple):
    """A fleet that gives one answer to every unknown group."""

    answer: str | Failure | None

    def only_group(self, function: str, contract: int) -> str | Failure | None:
        """Return the answer, with what it was asked."""
        return f"{function} {contract!r}" if self.answer == "" else self.answer


RULES: list[TaskRules] = [
    BalancerRules(Fleet("")),
    BalancerRules(Fleet(None)),
    BalancerRules(Fleet(failure("no_worker_available"))),
    WorkerRules(1, Worker(maintenance=False)),
    WorkerRules(2, Worker(maintenance=False)),
    WorkerRules(1, Worker(maintenance=True)),
    WorkerRules(2, Worker(maintenance=True)),
]
NUMBERS = [
    "1", "1", "1", "2", "0", "-1", "-0", "1.0", "1.5", "0.99", "1e0", "1E999", "-1e999", "NaN", "01", "+1",
    *(str(sign * (MAX_CONTRACT + more)) for sign in (1, -1) for more in (0, 1)),
    *(f"{PRIORITY_LAST}{tail}" for tail in ("", ".0", ".5", "1")),
    str(2**63), str(2**64), str(-(2**64)), "1" * 400, "1." + "0" * 400,
]  # fmt: skip
TEXTS = [
    '"f"', '"f"', '"f"', '"g"', '""', '" "', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', '"ü"', '"1"',
    '"' + "n" * MAX_NAME + '"', '"' + "n" * (MAX_NAME + 1) + '"', '"' + "ü" * MAX_NAME + '"', '"f', "'f'",
]  # fmt: skip
MODES = ['"sync"', '"sync"', '"stream"', '"webhook"', '"SYNC"', '"sync "', '"s\\u0079nc"']
OBJECTS = [
    "{}", '{"a":1}', ' {"a":1} ', '{"a":"\\ud800"}', '{"a":1e999}', '{"a":"ü"}', '{"a":1,"a":2}', "[1]",
    "{", "[" * 2000, '{"a":' * 1200 + "1" + "}" * 1200, '{"url":"http://h/"}', '{"url":1}', "{1:2}",
]  # fmt: skip
ODD = ["null", "null", "true", "false", "", "tru", "[]", "\\u0031", "\x00"]
VALUES = st.sampled_from([*NUMBERS, *TEXTS, *MODES, *OBJECTS, *ODD])
LIKELY = {
    "group": st.sampled_from(TEXTS), "function": st.sampled_from(TEXTS), "contract": st.sampled_from(NUMBERS),
    "priority": st.sampled_from(NUMBERS), "mode": st.sampled_from(MODES), "input": st.sampled_from(OBJECTS),
    "webhook": st.sampled_from(OBJECTS), "metadata": st.sampled_from(OBJECTS),
    "timeout_s": st.sampled_from(NUMBERS), "deadline_s": st.sampled_from(NUMBERS),
    "max_attempts": st.sampled_from(NUMBERS), "delay_s": st.sampled_from(NUMBERS), "run_at": st.sampled_from(TEXTS),
    "retry_on": st.sampled_from(OBJECTS), "other": VALUES, "Function": VALUES,
}  # fmt: skip
RIGHT = {"function": '"f"', "contract": "1", "group": '"g"', "input": '{"a":1}', "priority": "1"}


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body that is right but for a few fields, which may be any, twice, or absent; or damaged."""
    absent = draw(st.sets(st.sampled_from(sorted(RIGHT)), max_size=2))
    pairs = [(name, text) for name, text in RIGHT.items() if name not in absent]
    for name in draw(st.lists(st.sampled_from(sorted(LIKELY)), max_size=3)):
        pairs.insert(
            draw(st.integers(0, len(pairs))), (name, draw(st.one_of(LIKELY[name], VALUES)))
        )
    space = draw(st.sampled_from(["", "", " ", "\r\n\t"]))
    body = "{" + ",".join(f'{space}"{name}":{space}{text}{space}' for name, text in pairs) + "}"
    return draw(st.sampled_from([b"", b"", b"", BOM, BOM + BOM, b" "])) + draw(damaged(body))


@st.composite
def damaged(draw: st.DrawFn, body: str) -> bytes:
    """A body as it is, or with bytes that do not belong there."""
    encoded = body.encode()
    if draw(st.integers(0, 4)):
        return encoded
    first, last = sorted(draw(st.tuples(*[st.integers(0, len(encoded))] * 2)))
    return encoded[:first] + draw(st.binary(max_size=2)) + encoded[last:]


def one_by_one(body: bytes, headers: EdgeHeaders, rules: TaskRules) -> TaskRequest | Failure:
    """Return what the checks of the single fields say."""
    body = body.removeprefix(BOM)
    try:
        body.decode()
    except UnicodeDecodeError:
        return failure("invalid_json")
    return parse_by_field(body, headers, rules)


@settings(max_examples=600)
@given(
    body=bodies(),
    wr_auth=st.sampled_from([None, None, "Bearer k", " ", "\udcff"]),
    content_type=st.sampled_from([None, "application/json", "text/plain"]),
    mutable=st.booleans(),
)
@example(PLAIN, None, None, False)
@example(PLAIN.replace(b'"priority":1,', b'"priority":1.0,'), None, None, False)
@example(PLAIN.replace(b'"contract":1,', b'"contract":true,'), None, None, False)
@example(PLAIN.replace(b'"contract":1,', b'"contract":1,"contract":"1",'), None, None, False)
@example(PLAIN.replace(b'"group":"g"', b'"group":null'), None, None, False)
@example(PLAIN.replace(b'"group":"g"', b'"group":""'), None, None, False)
@example(PLAIN.replace(b'{"a":1}', b"null"), "\udcff", None, False)
@example(PLAIN.replace(b'"g"', b'"\xff"'), None, None, True)
@example(b"[" * 100_000, None, None, False)
def test_the_fast_way_answers_as_the_single_checks_do(
    body: bytes, wr_auth: str | None, content_type: str | None, mutable: bool
) -> None:
    """The same task, or the same failure to the letter."""
    headers = EdgeHeaders(wr_auth=wr_auth, content_type=content_type, correlation_id="c")
    assert_same(bytearray(body) if mutable else body, headers)


@pytest.mark.parametrize("name", sorted(LIKELY))
def test_every_odd_value_of_every_field_is_answered_as_the_single_checks_do(name: str) -> None:
    """In a body that is right but for this field."""
    for text in dict.fromkeys([*NUMBERS, *TEXTS, *MODES, *OBJECTS, *ODD]):
        pairs = {**RIGHT, name: text}.items()
        body = "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
        assert_same(body.encode(), EdgeHeaders())


def assert_same(body: bytes | bytearray, headers: EdgeHeaders) -> None:
    """Fail unless both ways say the same on every side, to the type of each number."""
    for rules in RULES:
        expected = one_by_one(bytes(body), headers, rules)
        found = parse_task(body, headers, rules)
        assert found == expected
        assert repr(found) == repr(expected)  # 1 == 1.0 == True


def test_a_plain_body_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would compare the slow way with itself."""

    def slow(body: bytes, headers: EdgeHeaders, rules: TaskRules) -> Failure:
        return failure("internal_error")

    monkeypatch.setattr(codec, "parse_by_field", slow)
    for body in (PLAIN, BOM + PLAIN, PLAIN.replace(b'"g"', '"ü"'.encode())):
        assert isinstance(parse_task(body, EdgeHeaders(), RULES[0]), TaskRequest)
    options = PLAIN.replace(b"{", b'{"timeout_s":1,', 1)
    assert parse_task(options, EdgeHeaders(), RULES[0]) == failure("internal_error")
