"""`POST /task`: every row of contract §2, through both shells of both processes, with one answer."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

import msgpack
import pytest

from tests.contract.edge.edges import BODY_LIMIT, SHELLS, Edge, Edges, masked, running_edges
from tests.fakes.raw_http import RawAnswer

OK = (200, None, None)
MISSING = (400, "Missing group, function, or contract", "invalid_request")
Told = tuple[int, str | None, str | None]  # status, text, code


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        name: of the test.
        told: status, text and code; text and code of a success are None.
        body: members over a call of `hello`, or the bytes themselves.
        headers: over those that every call has; None leaves one out.
        balancer: what a balancer says, when that is something else.
        lane: the lane answers it; else it hands the connection over; None for either.
    """

    name: str
    told: Told
    body: Mapping[str, object] | bytes = field(default_factory=dict[str, object])
    headers: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    balancer: Told | None = None
    lane: bool | None = True


def _refused(code: str, text: str, status: int = 400) -> Told:
    return status, text, code


PRIORITY = _refused("invalid_priority", "Invalid priority: must be between 1 and 2097152")
FUNCTION = _refused("invalid_function", "Missing or invalid function name")
CONTRACT = _refused("invalid_contract", "Missing or invalid contract")
INPUT = _refused("invalid_input", "Invalid input: must be an object")
MODE = _refused("invalid_mode", "Invalid mode")
NOT_JSON = _refused("invalid_json", "Invalid JSON body")
HOOK = _refused("invalid_webhook", "Missing or invalid webhook.url for mode webhook")
STRANGER = _refused("unauthorized", "Unauthorized", 401)
UNREACHED = "http://127.0.0.1:1/nobody"

LIST: list[object] = []
OBJECT: dict[str, object] = {}
PRIORITIES: list[object] = [0, -1, 2097153, 0.5, None, "1", True, LIST, OBJECT]
NAMES: list[object] = [1, LIST, OBJECT, True]
CONTRACTS: list[object] = ["1", True, 1.5, LIST, OBJECT]
MODES: list[object] = ["x", "", None, 1, "SYNC"]
HOOKS: list[object] = [None, OBJECT, {"url": ""}, {"url": 1}, {"url": "ftp://h/x"}, "http://h/x"]
SECONDS: list[object] = [0, -1, "1", True, LIST]
TYPES = "must be a number of seconds greater than 0 and at most 31536000"
DELAY = "Invalid delay_s: must be a number of seconds from 0 to 31536000"
RUN_AT = "Invalid run_at: must be an ISO 8601 time with its offset from UTC, such as 2030-01-31T12:00:00Z"
CODES = "Invalid retry_on: must be a list of 1 to 32 codes, such as function_error and timeout"
KEY = _refused(
    "invalid_field", "Invalid Idempotency-Key: must be 1 to 255 visible ASCII characters"
)
NO_STREAM = _refused("invalid_field", "Invalid Idempotency-Key: not supported for mode stream yet")
MSGPACK = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}

ROWS = [
    Row("plain", OK),
    Row("bearer", OK, headers={"Authorization": "Bearer {key}"}),
    Row("metadata and limits", OK, {"metadata": {"a": 1}, "timeout_s": 5, "deadline_s": 5, "max_attempts": 2.0}),
    Row("unknown members", OK, {"else": [1]}),
    Row("no result", OK, {"function": "nothing"}),
    Row("no group", OK, {"group": None}),
    Row("a correlation id", OK, headers={"x-correlation-id": "mine"}),
    Row("connection close", OK, headers={"Connection": "close"}),
    Row("connection keep-alive", OK, headers={"Connection": "keep-alive"}),
    Row("msgpack", OK, msgpack.packb({"function": "hello", "contract": 1}), MSGPACK),
    Row("a refusal in msgpack", PRIORITY, {"priority": 0}, {"Accept": "application/msgpack"}),
    Row("a stream", OK, {"function": "stream", "mode": "stream", "input": {"pieces": ["a"]}}, lane=False),
    Row("no key", STRANGER, headers={"Authorization": None}),
    Row("a wrong key", STRANGER, headers={"Authorization": "wrong"}),
    Row("a key of odd bytes", STRANGER, headers={"Authorization": "schlüssel"}),
    Row("a wrong x-lb-auth", STRANGER, headers={"x-lb-auth": "wrong"}, balancer=OK),
    Row("a stranger's body is not read", STRANGER, b"{", {"Authorization": "wrong"}),
    Row("too large", _refused("body_too_large", "Request body too large", 413), {"x": "y" * BODY_LIMIT}, lane=False),
    Row("no JSON", NOT_JSON, b"{"),
    Row("an empty body", NOT_JSON, b"", lane=False),
    Row("no object", NOT_JSON, b"[]"),
    Row("NaN", NOT_JSON, b'{"function":"slow","contract":1,"input":{"ms":NaN}}'),
    *(Row(f"priority {value!r}", PRIORITY, {"priority": value}) for value in PRIORITIES),
    *(Row(f"function {value!r}", FUNCTION, {"function": value}) for value in NAMES),
    *(Row(f"function {value!r}", FUNCTION, {"function": value}, balancer=MISSING) for value in ("", None)),
    *(Row(f"contract {value!r}", CONTRACT, {"contract": value}) for value in CONTRACTS),
    Row("no contract", CONTRACT, {"contract": None}, balancer=MISSING),
    Row("contract 2", _refused("contract_mismatch", "Contract version mismatch: requested 2, worker is 1"),
        {"contract": 2}, balancer=(404, None, "contract_not_found")),
    *(Row(f"input {value!r}", INPUT, {"input": value}) for value in ("x", 1, True, LIST)),
    *(Row(f"mode {value!r}", MODE, {"mode": value}) for value in MODES),
    Row("unknown function", _refused("function_not_found", "Function 'nope' not found", 404), {"function": "nope"},
        balancer=(404, "Function 'nope' not found in group 'default'", "function_not_found")),
    Row("unknown group", OK, {"group": "nope"}, balancer=(404, None, "group_not_found")),
    Row("cannot stream", _refused("streaming_not_supported", "Function 'hello' does not support streaming"),
        {"mode": "stream"}, lane=None),
    *(Row(f"webhook {value!r}", HOOK, {"mode": "webhook", "webhook": value}) for value in HOOKS),
    *(Row(f"{name} {value!r}", _refused("invalid_field", f"Invalid {name}: {TYPES}"), {name: value})
      for name in ("timeout_s", "deadline_s") for value in SECONDS),
    Row("max_attempts", _refused("invalid_field", "Invalid max_attempts: must be an integer between 1 and 1000"),
        {"max_attempts": 0}),
    Row("metadata", _refused("invalid_field", "Invalid metadata: must be an object of at most 16384 bytes of JSON"),
        {"metadata": 1}),
    Row("missing parameter", _refused("invalid_params", "Missing required param: ms"), {"function": "slow"}),
    Row("unexpected parameter", _refused("invalid_params", "Unexpected param: k"), {"input": {"k": 1}}),
    Row("raises", _refused("function_error", "boom", 500), {"function": "fail"}),
    Row("times out", _refused("timeout", "Timeout", 504), {"function": "short"}),
    Row("a hook that nobody answers", (502, None, "webhook_failed"),
        {"mode": "webhook", "webhook": {"url": UNREACHED}}, balancer=(202, None, None)),
    Row("respond-async", OK, headers={"Prefer": "respond-async"}, balancer=(202, None, None)),
    Row("respond-async and a wait", OK, headers={"Prefer": "Respond-Async; wait=30"}),
    Row("respond-async and no wait", OK, headers={"Prefer": "wait=x, respond-async"}, balancer=(202, None, None)),
    Row("a wait alone", OK, headers={"Prefer": "wait=0"}),
    *(Row(f"a key of {name}", OK, headers={"Idempotency-Key": name})
      for name in ("!~", '"quotes"', "x" * 200)),
    Row("a key and a failure", _refused("function_error", "boom", 500), {"function": "fail"},
        headers={"Idempotency-Key": "failing"}),
    *(Row(f"the key {key[:5]!r}", OK, headers={"Idempotency-Key": key}, balancer=KEY)
      for key in ("", "a b", "schlüssel", "x" * 256)),
    Row("a key and a stream", OK, {"function": "stream", "mode": "stream", "input": {"pieces": ["a"]}},
        headers={"Idempotency-Key": "streaming"}, lane=None, balancer=NO_STREAM),
    Row("a key and a webhook", (502, None, "webhook_failed"), {"mode": "webhook", "webhook": {"url": UNREACHED}},
        headers={"Idempotency-Key": "hooked"}, balancer=(202, None, None)),
    *(Row(f"delay_s {value!r}", _refused("invalid_field", DELAY), {"delay_s": value})
      for value in (-1, "1", True, LIST, 31_536_001)),
    *(Row(f"run_at {value!r}", _refused("invalid_field", RUN_AT), {"run_at": value})
      for value in (1, "", "now", "2030-01-01", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z", LIST)),
    *(Row(f"retry_on {value!r}", _refused("invalid_field", CODES), {"retry_on": value})
      for value in (LIST, "timeout", [1], ["nope"], ["timeout"] * 33, OBJECT)),
    Row("retry_on", OK, {"retry_on": ["timeout"], "delay_s": None, "run_at": None}),
    *(Row(f"a call with {name}", (400, None, "invalid_field"), {name: value})
      for name, value in (("delay_s", 0), ("delay_s", 1), ("run_at", "2030-01-01T00:00:00Z"))),
    Row("delay_s and run_at", (400, "Invalid run_at: give run_at or delay_s, not both", "invalid_field"),
        {"delay_s": 1, "run_at": "2001-01-01T00:00:00Z"}, headers={"Prefer": "respond-async"}),
    Row("run_at in a hundred years", (400, None, "invalid_field"), {"run_at": "2130-01-01T00:00:00Z"},
        headers={"Prefer": "respond-async"}),
    Row("delayed", (400, None, "invalid_field"), {"delay_s": 3600, "retry_on": ["timeout"]},
        headers={"Prefer": "respond-async"}, balancer=(202, None, None)),
]  # fmt: skip


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Generator[Edges]:
    """Both processes behind both shells."""
    with running_edges(tmp_path_factory.mktemp("edges")) as running:
        yield running


def _body(row: Row, process: str) -> bytes:
    if isinstance(row.body, bytes):
        return row.body
    members = {"group": "default", "function": "hello", "contract": 1, **row.body}
    if members["group"] is None or process == "worker":
        members.pop("group", None)
    if "function" in row.body and row.body["function"] is None:
        del members["function"]
    return json.dumps(members).encode()


def _headers(row: Row, edge: Edge) -> dict[str, str]:
    headers = {"Authorization": edge.key, **row.headers}
    return {
        name: value.format(key=edge.key) for name, value in headers.items() if value is not None
    }


@pytest.mark.parametrize("process", ["worker", "balancer"])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_of_the_table(edges: Edges, process: str, row: Row) -> None:
    """Status, text and code are the contract's, and both shells say the same to the last header."""
    status, text, code = row.told if process == "worker" or row.balancer is None else row.balancer
    answers: dict[str, RawAnswer] = {}
    handed_over = edges[process, "lane"].lane.handed_over
    for shell in SHELLS:
        edge = edges[process, shell]
        answer = answers[shell] = edge.ask(_body(row, process), _headers(row, edge))
        assert answer.status == status, answer
        assert answer.headers["x-correlation-id"]
        if code is not None:
            assert answer.content["code"] == code
            assert answer.content["success"] is False
            assert text is None or answer.content["error"] == text
    assert masked(answers["lane"]) == masked(answers["aiohttp"])
    left = edges[process, "lane"].lane.handed_over - handed_over
    assert row.lane is None or left == (not row.lane)


def test_the_server_is_the_same(edges: Edges) -> None:
    """Nothing tells a caller which shell it was."""
    told = set[str]()
    for edge in edges.values():
        told.add(edge.ask(b"{", {"Authorization": edge.key}).headers["server"])
    assert len(told) == 1
    assert told.pop().startswith("cabrank/")
