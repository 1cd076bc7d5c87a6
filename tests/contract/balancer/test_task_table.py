"""Contract §2 as the balancer answers it: every row of the table, in both shells, in JSON and msgpack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from itertools import product

import msgspec
import pytest

from tests.fakes.in_process_balancer import AS_CLIENT, JsonObject, Reply, RunningBalancer, task_body
from tests.fakes.in_process_worker import AUTH_KEY, LB_KEY

BODY_LIMIT = 20_000  # of the balancer in conftest.py
PRIORITY = "Invalid priority: must be between 1 and 2097152"
MISSING = "Missing group, function, or contract"
HOOK: JsonObject = {"mode": "webhook", "webhook": {"url": "http://127.0.0.1:9/x"}}

SHELLS = {"fast lane": False, "aiohttp": True}  # → the body comes in chunks
FORMS = ("application/json", "application/msgpack")

Row = tuple[str, bytes, int, str, str]


def row(
    name: str,
    status: int,
    error: str,
    code: str,
    function: object = "hello",
    given: Mapping[str, object] | None = None,
    /,
    **members: object,
) -> Row:
    """Return (name, body, status, text, code) of a task that is refused."""
    return (name, task_body(function, given, **members), status, error, code)


def raw(name: str, body: bytes, status: int, error: str, code: str) -> Row:
    """Return a row whose body is no JSON of ours."""
    return (name, body, status, error, code)


async def every_way(balancer: RunningBalancer, body: bytes) -> AsyncIterator[Reply]:
    """Post one body through both shells, asking for both forms."""
    for chunked, form in product(SHELLS.values(), FORMS):
        headers = {**AS_CLIENT, "Accept": form}
        reply = await balancer.ask("POST", "/task", headers=headers, data=body, chunked=chunked)
        assert reply.headers["Content-Type"].startswith(form), (chunked, form)
        yield reply


EMPTY: tuple[list[object], JsonObject] = ([], {})
NO_PRIORITIES: tuple[object, ...] = (0, -1, 2097153, 0.5, "1", True, *EMPTY)
NO_FUNCTIONS: tuple[object, ...] = (1, True, *EMPTY)
NO_CONTRACTS: tuple[object, ...] = ("1", True, 1.5, *EMPTY)
NO_INPUTS: tuple[object, ...] = ("x", 5, True, EMPTY[0])

REFUSED: list[Row] = [
    # the body
    row("too large", 413, "Request body too large", "body_too_large", x="y" * BODY_LIMIT),
    raw("no JSON", b"{", 400, "Invalid JSON body", "invalid_json"),
    raw("nothing", b"", 400, "Invalid JSON body", "invalid_json"),
    raw("NaN", b'{"function":"slow","contract":1,"group":"default","input":{"ms":NaN}}',
        400, "Invalid JSON body", "invalid_json"),
    raw("Infinity", b'{"function":"hello","contract":1,"priority":Infinity}',
        400, "Invalid JSON body", "invalid_json"),
    raw("no UTF-8", b'{"function":"\xff"}', 400, "Invalid JSON body", "invalid_json"),
    # what the balancer demands
    raw("no function", b'{"group":"default","contract":1}', 400, MISSING, "invalid_request"),
    raw("no contract", b'{"group":"default","function":"hello"}', 400, MISSING, "invalid_request"),
    row("no group and no host", 400, MISSING, "invalid_request", "nope", group=None),
    row("group of a wrong type", 400, MISSING, "invalid_request", group=5),
    # the fields, in the contract's order
    *[row(f"priority {value!r}", 400, PRIORITY, "invalid_priority", priority=value)
      for value in NO_PRIORITIES],
    raw("priority null", b'{"group":"default","function":"hello","contract":1,"priority":null}',
        400, PRIORITY, "invalid_priority"),
    *[row(f"function {value!r}", 400, "Missing or invalid function name", "invalid_function", value)
      for value in NO_FUNCTIONS],
    *[row(f"contract {value!r}", 400, "Missing or invalid contract", "invalid_contract", contract=value)
      for value in NO_CONTRACTS],
    *[row(f"input {value!r}", 400, "Invalid input: must be an object", "invalid_input", input=value)
      for value in NO_INPUTS],
    row("mode unknown", 400, "Invalid mode", "invalid_mode", mode="later"),
    row("webhook without url", 400, "Missing or invalid webhook.url for mode webhook",
        "invalid_webhook", mode="webhook"),
    row("webhook.url is no URL", 400, "Missing or invalid webhook.url for mode webhook",
        "invalid_webhook", mode="webhook", webhook={"url": "ftp://x"}),
    # what is hosted
    row("function unknown", 404, "Function 'nope' not found in group 'default'",
        "function_not_found", "nope"),
    row("group unknown", 404, "Group 'nope' not found", "group_not_found", group="nope"),
    row("contract unknown", 404, "Contract 2 not found in group 'default', which has: 1",
        "contract_not_found", contract=2),
    row("cannot stream", 400, "Function 'hello' does not support streaming",
        "streaming_not_supported", mode="stream"),
    row("durable, function unknown", 404, "Function 'nope' not found in group 'default'",
        "function_not_found", "nope", **HOOK),
    # the worker's own answers, at once
    row("handler raised", 500, "boom", "function_error", "fail"),
    row("time-out", 504, "Timeout", "timeout", "short"),
    row("raised before the first piece", 500, "mid", "function_error", "stream_fail",
        {"pieces": []}, mode="stream"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "error", "code"),
    [each[1:] for each in REFUSED],
    ids=[each[0] for each in REFUSED],
)
async def test_what_is_refused_is_refused_alike_in_every_way(
    balancer: RunningBalancer, body: bytes, status: int, error: str, code: str
) -> None:
    """Status, exact text and code of each row are the same in both shells and both forms."""
    async for reply in every_way(balancer, body):
        told = reply.content
        assert (reply.status, told["error"], told["code"]) == (status, error, code)
        assert told["success"] is False
        assert reply.headers["x-correlation-id"]


PARAMS: list[tuple[str, dict[str, object], str]] = [
    ("slow", {}, "Missing required param: ms"),
    ("slow", {"ms": 5, "k": 1}, "Unexpected param: k"),
    ("slow", {"ms": "40"}, "Invalid type for param: ms, expected number"),
    ("slow", {"ms": True}, "Invalid type for param: ms, expected number"),
    ("slow", {"ms": 0}, "Value for param: ms must be >= 1"),
    ("hello", {"name": "x"}, "Length of param: name must be >= 2"),
    ("hello", {"name": "x" * 21}, "Length of param: name must be <= 20"),
]


@pytest.mark.parametrize("how", [{}, HOOK], ids=["by the worker", "by the balancer"])
@pytest.mark.parametrize(("function", "given", "problem"), PARAMS)
async def test_parameters_are_checked_in_the_same_words(
    balancer: RunningBalancer,
    function: str,
    given: dict[str, object],
    problem: str,
    how: dict[str, object],
) -> None:
    """A call is checked by the worker, a durable task by the balancer before it is accepted."""
    async for reply in every_way(balancer, task_body(function, given, **how)):
        told = reply.content
        assert (reply.status, told["error"], told["code"]) == (400, problem, "invalid_params")
        details = told["details"]
        assert isinstance(details, list)
        assert details[0]["problem"] == problem


OPTIONS: list[tuple[str, object]] = [
    ("timeout_s", 0),
    ("timeout_s", "5"),
    ("deadline_s", -1),
    ("deadline_s", True),
    ("max_attempts", 0),
    ("max_attempts", 1.5),
    ("metadata", "text"),
]


@pytest.mark.parametrize(("field", "value"), OPTIONS)
async def test_our_optional_fields_say_what_they_expect(
    balancer: RunningBalancer, field: str, value: object
) -> None:
    """An invalid optional field is named in the answer."""
    async for reply in every_way(balancer, task_body("hello", **{field: value})):
        assert (reply.status, reply.code) == (400, "invalid_field")
        assert str(reply.content["error"]).startswith(f"Invalid {field}: must be")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "wrong"},
        {"Authorization": AUTH_KEY},
        {"x-wr-auth": LB_KEY},
        {"x-lb-auth": "wrong"},
        {"Authorization": ""},
    ],
)
async def test_a_stranger_gets_401_before_the_body_is_read(
    balancer: RunningBalancer, headers: Mapping[str, str]
) -> None:
    """Without LB_AUTH_KEY in one of its two headers nothing is parsed; x-wr-auth is no credential."""
    for chunked in SHELLS.values():
        reply = await balancer.ask("POST", "/task", headers=headers, data=b"{", chunked=chunked)
        assert reply.status == 401
        assert reply.json == {"success": False, "error": "Unauthorized", "code": "unauthorized"}
        assert reply.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": LB_KEY},
        {"Authorization": f"Bearer {LB_KEY}"},
        {"x-lb-auth": LB_KEY},
        {"x-lb-auth": f"Bearer {LB_KEY}"},
        {"Authorization": LB_KEY, "x-wr-auth": "any"},
    ],
)
async def test_the_key_is_taken_in_either_header(
    balancer: RunningBalancer, headers: Mapping[str, str]
) -> None:
    """LB_AUTH_KEY opens `POST /task` in either header, with and without Bearer."""
    for chunked in SHELLS.values():
        reply = await balancer.ask(
            "POST", "/task", headers=headers, data=task_body("hello"), chunked=chunked
        )
        assert reply.status == 200


SUCCEEDED: list[tuple[str, bytes, object]] = [
    ("defaults", task_body("hello"), {"message": "Hello World!"}),
    ("input", task_body("hello", {"name": "Ada"}), {"message": "Hello Ada!"}),
    ("input null", b'{"group":"default","function":"nothing","contract":1,"input":null}', None),
    ("contract 1.0", task_body("hello", contract=1.0), {"message": "Hello World!"}),
    ("unknown fields", task_body("hello", _taskId="x", more=[1]), {"message": "Hello World!"}),
    ("highest priority", task_body("hello", priority=1), {"message": "Hello World!"}),
    ("lowest priority", task_body("hello", priority=2097152), {"message": "Hello World!"}),
    ("between two", task_body("hello", priority=1.5), {"message": "Hello World!"}),
    ("group omitted", task_body("hello", group=None), {"message": "Hello World!"}),
    ("all options", task_body("hello", timeout_s=5, deadline_s=9.5, max_attempts=1,
                              metadata={"a": 1}), {"message": "Hello World!"}),
    ("not only ASCII", task_body("echo", {"text": "añ\u2028 😀 \\ \" "}), "añ\u2028 😀 \\ \" "),
    ("empty text", task_body("echo", {"text": ""}), ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "result"),
    [each[1:] for each in SUCCEEDED],
    ids=[each[0] for each in SUCCEEDED],
)
async def test_a_call_is_answered_with_the_worker_s_result(
    balancer: RunningBalancer, body: bytes, result: object
) -> None:
    """200 with success, the result if there is one, and the task's id."""
    async for reply in every_way(balancer, body):
        told = reply.content
        task_id = told.pop("task_id")
        assert isinstance(task_id, str)
        expected: dict[str, object] = {"success": True}
        assert (reply.status, told) == (
            200,
            expected if result is None else {**expected, "result": result},
        )


@pytest.mark.parametrize(
    "kind", ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"]
)
async def test_a_body_may_be_msgpack(balancer: RunningBalancer, kind: str) -> None:
    """The same task in msgpack gets the same answer; binary values cannot be carried as JSON."""
    task = {"group": "default", "contract": 1, "function": "hello", "input": {"name": "Ada"}}
    headers = {**AS_CLIENT, "Content-Type": kind}
    for chunked in SHELLS.values():
        reply = await balancer.ask(
            "POST", "/task", headers=headers, data=msgspec.msgpack.encode(task), chunked=chunked
        )
        assert (reply.status, reply.json["result"]) == (200, {"message": "Hello Ada!"})
        binary = {**task, "input": {"name": b"Ada"}}
        reply = await balancer.ask(
            "POST", "/task", headers=headers, data=msgspec.msgpack.encode(binary), chunked=chunked
        )
        assert (reply.status, reply.code) == (400, "invalid_input")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
async def test_the_type_of_a_body_is_not_checked(balancer: RunningBalancer, kind: str) -> None:
    """All but msgpack is read as JSON, whatever its Content-Type says."""
    reply = await balancer.task("hello", headers={"Content-Type": kind})
    assert reply.status == 200


@pytest.mark.parametrize(
    ("given", "repeated"),
    [("my-id", "my-id"), ("a b\tc", "abc"), ("x" * 500, "x" * 128)],
)
async def test_a_correlation_id_is_repeated(
    balancer: RunningBalancer, given: str, repeated: str
) -> None:
    """The caller's id comes back as far as it is visible ASCII, and is that of the task."""
    for chunked in SHELLS.values():
        reply = await balancer.task("hello", headers={"x-correlation-id": given}, chunked=chunked)
        assert reply.headers["x-correlation-id"] == repeated
        shown = await balancer.shown(reply.json["task_id"])
        assert shown["correlation_id"] == repeated
