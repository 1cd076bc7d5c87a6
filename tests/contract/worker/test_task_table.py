"""`POST /task` on a worker: every row of contract §2 and of its error table, text by text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Literal

import msgpack
import pytest
from pydantic import Field

from tests.contract.worker.running import AS_CLIENT, AUTH_KEY, LB_KEY, RunningWorker, running_worker
from worker import function

BODY_LIMIT = 2000


@function
async def hello(name: str = "World") -> dict[str, str]:
    """Greets someone."""
    return {"message": f"Hello {name}!"}


@function
async def slow(ms: float) -> float:
    """Gives back how long it should take."""
    return ms


@function
async def picky(
    kind: Literal["a", "b"] = "a",
    code: Annotated[str, Field(pattern="^[a-z]+$")] = "a",
    count: Annotated[int, Field(ge=1)] = 1,
    text: Annotated[str, Field(max_length=10)] = "",
) -> int:
    """Has a parameter of each sort."""
    return count


@function
async def nothing() -> None:
    """Returns nothing."""


@function
async def fail() -> None:
    """Raises."""
    raise LookupError("boom")


@pytest.fixture
async def worker() -> AsyncGenerator[RunningWorker]:
    """A worker with these functions."""
    hosted = (hello, slow, picky, nothing, fail)
    async with running_worker(hosted, request_body_limit=BODY_LIMIT) as running:
        yield running


UNAUTHORIZED: list[tuple[str, Mapping[str, str]]] = [
    ("no key", {}),
    ("wrong key", {"Authorization": "x"}),
    ("the balancer's key", {"Authorization": LB_KEY}),
    ("x-lb-auth alone", {"x-lb-auth": LB_KEY}),
    ("wrong x-lb-auth beside the right key", {**AS_CLIENT, "x-lb-auth": "x"}),
    ("not ASCII", {"Authorization": "schlüssel"}),
]


@pytest.mark.parametrize(
    "headers", [row[1] for row in UNAUTHORIZED], ids=[r[0] for r in UNAUTHORIZED]
)
async def test_a_stranger_gets_401(worker: RunningWorker, headers: Mapping[str, str]) -> None:
    """Without AUTH_KEY, or with a wrong `x-lb-auth` beside it, the answer is `Unauthorized`."""
    reply = await worker.task({"function": "hello"}, headers)
    assert reply.status == 401
    assert reply.json == {"success": False, "error": "Unauthorized", "code": "unauthorized"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": AUTH_KEY},
        {"Authorization": f"Bearer {AUTH_KEY}"},
        {"Authorization": f"bearer {AUTH_KEY}"},
        {"Authorization": AUTH_KEY, "x-lb-auth": LB_KEY},
        {"Authorization": AUTH_KEY, "x-lb-auth": f"Bearer {LB_KEY}"},
    ],
)
async def test_a_key_is_taken_with_and_without_bearer(
    worker: RunningWorker, headers: Mapping[str, str]
) -> None:
    """`Bearer ` is optional, and a legacy balancer sends both keys."""
    assert (await worker.task({"function": "hello"}, headers)).status == 200


HELLO = {"function": "hello"}
LIST: list[object] = []
OBJECT: dict[str, object] = {}
NUMBERS: list[object] = [1]
BAD_PRIORITIES: list[object] = [0, -1, 2097153, 0.5, None, "1", True, LIST, OBJECT]
BAD_NAMES: list[object] = [None, "", 1, LIST, OBJECT, True]
BAD_CONTRACTS: list[object] = [None, "1", True, 1.5, LIST, OBJECT]
BAD_INPUTS: list[object] = ["x", 1, True, LIST, NUMBERS]
BAD_MODES: list[object] = ["x", "", None, 1, "SYNC"]
BAD_HOOKS: list[object] = [
    None,
    OBJECT,
    {"url": ""},
    {"url": 1},
    {"url": "ftp://h/x"},
    "http://h/x",
    LIST,
]
BAD_SECONDS: list[object] = [0, -1, "1", True, LIST]
BAD_ATTEMPTS: list[object] = [0, 1.5, "1", True]
# (what the body has beside `contract: 1`, status, text, code)
REFUSED: list[tuple[str, Mapping[str, object] | bytes, int, str, str]] = [
    ("too large", {**HELLO, "x": "y" * BODY_LIMIT}, 413, "Request body too large", "body_too_large"),
    ("no JSON", b"{", 400, "Invalid JSON body", "invalid_json"),
    ("empty body", b"", 400, "Invalid JSON body", "invalid_json"),
    ("NaN", b'{"function":"slow","contract":1,"input":{"ms":NaN}}', 400, "Invalid JSON body", "invalid_json"),
    ("Infinity", b'{"function":"hello","contract":1,"priority":Infinity}', 400, "Invalid JSON body", "invalid_json"),
    *[
        (f"priority {value!r}", {**HELLO, "priority": value}, 400,
         "Invalid priority: must be between 1 and 2097152", "invalid_priority")
        for value in BAD_PRIORITIES
    ],
    *[
        (f"function {value!r}", {"function": value}, 400, "Missing or invalid function name", "invalid_function")
        for value in BAD_NAMES
    ],
    ("no function", {}, 400, "Missing or invalid function name", "invalid_function"),
    *[
        (f"contract {value!r}", {**HELLO, "contract": value}, 400, "Missing or invalid contract", "invalid_contract")
        for value in BAD_CONTRACTS
    ],
    ("no contract", b'{"function":"hello"}', 400, "Missing or invalid contract", "invalid_contract"),
    ("contract 2", {**HELLO, "contract": 2}, 400,
     "Contract version mismatch: requested 2, worker is 1", "contract_mismatch"),
    *[
        (f"input {value!r}", {**HELLO, "input": value}, 400, "Invalid input: must be an object", "invalid_input")
        for value in BAD_INPUTS
    ],
    *[
        (f"mode {value!r}", {**HELLO, "mode": value}, 400, "Invalid mode", "invalid_mode")
        for value in BAD_MODES
    ],
    ("unknown function", {"function": "nope"}, 404, "Function 'nope' not found", "function_not_found"),
    ("dunder function", {"function": "__init__"}, 404, "Function '__init__' not found", "function_not_found"),
    ("cannot stream", {**HELLO, "mode": "stream"}, 400,
     "Function 'hello' does not support streaming", "streaming_not_supported"),
    *[
        (f"webhook {value!r}", {**HELLO, "mode": "webhook", "webhook": value}, 400,
         "Missing or invalid webhook.url for mode webhook", "invalid_webhook")
        for value in BAD_HOOKS
    ],
    *[
        (f"{name} {value!r}", {**HELLO, name: value}, 400,
         f"Invalid {name}: must be a number of seconds greater than 0 and at most 31536000", "invalid_field")
        for name in ("timeout_s", "deadline_s")
        for value in BAD_SECONDS
    ],
    *[
        (f"max_attempts {value!r}", {**HELLO, "max_attempts": value}, 400,
         "Invalid max_attempts: must be an integer between 1 and 1000", "invalid_field")
        for value in BAD_ATTEMPTS
    ],
    ("metadata", {**HELLO, "metadata": 1}, 400,
     "Invalid metadata: must be an object of at most 16384 bytes of JSON", "invalid_field"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "text", "code"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
async def test_what_is_wrong_is_said(
    worker: RunningWorker, body: Mapping[str, object] | bytes, status: int, text: str, code: str
) -> None:
    """Each row of the error table has its status, its text and its code, and no task id: none ran."""
    reply = await worker.task(body)
    assert reply.status == status
    assert reply.json == {"success": False, "error": text, "code": code}
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


# (function, input, first problem)
PARAMS: list[tuple[str, Mapping[str, object], str]] = [
    ("slow", {}, "Missing required param: ms"),
    ("hello", {"k": 1}, "Unexpected param: k"),
    ("slow", {"ms": "40"}, "Invalid type for param: ms, expected number"),
    ("slow", {"ms": True}, "Invalid type for param: ms, expected number"),
    ("hello", {"name": 1}, "Invalid type for param: name, expected string"),
    ("picky", {"kind": "c"}, 'Invalid value for param: kind, expected one of ["a", "b"]'),
    ("picky", {"code": "1"}, "Invalid format for param: code, does not match pattern ^[a-z]+$"),
    ("picky", {"count": 0}, "Value for param: count must be >= 1"),
    ("picky", {"text": "x" * 11}, "Length of param: text must be <= 10"),
]


@pytest.mark.parametrize(("name", "input_", "problem"), PARAMS, ids=[row[2] for row in PARAMS])
async def test_a_wrong_parameter_is_named(
    worker: RunningWorker, name: str, input_: Mapping[str, object], problem: str
) -> None:
    """The first problem is the text, and `details` names the parameter."""
    reply = await worker.task({"function": name, "input": input_})
    assert reply.status == 400
    assert (reply.json["error"], reply.code) == (problem, "invalid_params")
    param = next(iter(input_), "ms")
    assert reply.json["details"] == [{"param": param, "problem": problem}]


@pytest.mark.parametrize(
    "more",
    [
        {"priority": 1}, {"priority": 2097152}, {"priority": 1.5}, {"contract": 1.0}, {"input": None},
        {"input": {}}, {"mode": "sync"}, {"group": "another"}, {"group": 1}, {"unknown": [1, 2]},
        {"webhook": {"url": "ignored"}}, {"timeout_s": 5}, {"timeout_s": None}, {"deadline_s": 5},
        {"max_attempts": 2.0}, {"metadata": {"a": 1}}, {"metadata": None},
    ],
    ids=str,
)  # fmt: skip
async def test_what_is_allowed_runs(worker: RunningWorker, more: Mapping[str, object]) -> None:
    """Optional fields take their values, a worker ignores the group, unknown fields are ignored."""
    reply = await worker.task({"function": "hello", **more})
    assert reply.status == 200
    assert reply.json["result"] == {"message": "Hello World!"}


async def test_one_point_zero_is_the_integer_one(worker: RunningWorker) -> None:
    """JSON has one type of number."""
    reply = await worker.task(b'{"function":"picky","contract":1.0,"input":{"count":2.0}}')
    assert reply.json["result"] == 2


async def test_a_success_has_the_result_and_the_task_id(worker: RunningWorker) -> None:
    """The body is Andera's plus `task_id`."""
    reply = await worker.task({"function": "hello", "input": {"name": "Ada"}})
    task_id = reply.json["task_id"]
    assert isinstance(task_id, str)
    assert task_id
    assert reply.json == {"success": True, "result": {"message": "Hello Ada!"}, "task_id": task_id}


async def test_a_function_that_returns_nothing_has_no_result(worker: RunningWorker) -> None:
    """There is no `result` key then."""
    assert (await worker.task({"function": "nothing"})).json.keys() == {"success", "task_id"}


async def test_a_function_that_raises_is_500_with_its_message(worker: RunningWorker) -> None:
    """The message and the class are told, the traceback is not."""
    reply = await worker.task({"function": "fail"})
    assert reply.status == 500
    said = {
        "success": False,
        "error": "boom",
        "code": "function_error",
        "error_type": "LookupError",
    }
    assert reply.json == {**said, "task_id": reply.json["task_id"]}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
async def test_the_content_type_is_not_checked(worker: RunningWorker, kind: str) -> None:
    """All but msgpack is read as JSON."""
    headers = {**AS_CLIENT, "Content-Type": kind}
    assert (await worker.task({"function": "hello"}, headers)).status == 200


async def test_a_body_may_be_msgpack(worker: RunningWorker) -> None:
    """`Content-Type: application/msgpack` is read, `Accept: application/msgpack` is answered so."""
    kind = "application/msgpack"
    headers = {**AS_CLIENT, "Content-Type": kind, "Accept": kind}
    body = msgpack.packb({"function": "hello", "contract": 1, "input": {"name": "Ada"}})
    reply = await worker.task(body, headers)
    assert (reply.status, reply.headers["Content-Type"]) == (200, kind)
    assert msgpack.unpackb(reply.body)["result"] == {"message": "Hello Ada!"}


async def test_binary_in_msgpack_is_refused(worker: RunningWorker) -> None:
    """JSON has no form for bytes."""
    headers = {**AS_CLIENT, "Content-Type": "application/msgpack"}
    reply = await worker.task(
        msgpack.packb({"function": "hello", "contract": 1, "input": b"x"}), headers
    )
    assert (reply.status, reply.code) == (400, "invalid_input")


async def test_a_correlation_id_comes_back(worker: RunningWorker) -> None:
    """The caller's own, or one that was made."""
    mine = await worker.task({"function": "hello"}, {**AS_CLIENT, "x-correlation-id": "abc"})
    made = await worker.task({"function": "nope"})
    assert mine.headers["x-correlation-id"] == "abc"
    assert made.headers["x-correlation-id"]


async def test_metadata_is_not_interpreted(worker: RunningWorker) -> None:
    """Any object is carried."""
    body = {"function": "hello", "contract": 1, "metadata": {"a": [1, None, {"b": "ü"}]}}
    assert (await worker.task(json.dumps(body).encode())).status == 200
