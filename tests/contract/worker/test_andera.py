"""Andera's worker and ours, side by side: the same requests get the same answers (contract, head).

Success shapes and texts are equal field by field; what we add beside them is allowed. Where the
contract says that we answer otherwise, the table here says how, and nothing else may differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from typing import cast

import pytest

from tests.contract.worker.observed import (
    captured_frames,
    exchanges,
    observed_answers,
    observed_log_line,
)
from tests.contract.worker.running import (
    AS_CLIENT,
    LB_KEY,
    JsonObject,
    Reply,
    RunningWorker,
    running_worker,
)
from tests.fakes.hook_receiver import hook_receiver
from worker import Context, function

OBSERVED = observed_answers()
VOLATILE = {"system", "websocketPort"}  # of the machine and of the run
HELLO = {"function": "hello"}
NOKEY: Mapping[str, str] = {}
AS_BALANCER = {"x-lb-auth": LB_KEY}


@pytest.fixture
async def worker() -> AsyncGenerator[RunningWorker]:
    """Our worker with the observed one's functions, tags, group and slots."""
    async with running_worker(group="g1", webhook_retry_delay=1) as running:
        yield running


def _includes(ours: object, theirs: object, place: str = "") -> None:
    """Fail unless everything that they say is in what we say."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        members, wanted = cast("JsonObject", ours), cast("JsonObject", theirs)
        for key, value in wanted.items():
            assert key in members, f"{place}.{key} is missing"
            if key not in VOLATILE:
                _includes(members[key], value, f"{place}.{key}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        items, values = cast("list[object]", ours), cast("list[object]", theirs)
        assert len(items) == len(values), place
        for index, value in enumerate(values):
            _includes(items[index], value, f"{place}[{index}]")
    else:
        assert ours == theirs, place


# (name of the observed pair, method, path, headers, body)
SAME: list[tuple[str, str, str, Mapping[str, str], object]] = [
    ("health public", "GET", "/health", NOKEY, None),
    ("health bad auth", "GET", "/health", {"Authorization": "x"}, None),
    ("health auth", "GET", "/health", AS_CLIENT, None),
    ("health lb", "GET", "/health", AS_BALANCER, None),
    ("task noauth", "POST", "/task", NOKEY, HELLO),
    ("task bearer", "POST", "/task", {"Authorization": "Bearer wk"}, HELLO),
    ("task x-lb wrong", "POST", "/task", {**AS_CLIENT, "x-lb-auth": "x"}, HELLO),
    ("task only lb", "POST", "/task", AS_BALANCER, HELLO),
    ("ok", "POST", "/task", AS_CLIENT, {**HELLO, "input": {"name": "Andera"}}),
    ("priority 0", "POST", "/task", AS_CLIENT, {**HELLO, "priority": 0}),
    ("priority null", "POST", "/task", AS_CLIENT, {**HELLO, "priority": None}),
    ("priority 1.5", "POST", "/task", AS_CLIENT, {**HELLO, "priority": 1.5}),
    ("no fn", "POST", "/task", AS_CLIENT, {}),
    ("no contract", "POST", "/task", AS_CLIENT, {**HELLO, "contract": None}),
    ("contract str", "POST", "/task", AS_CLIENT, {**HELLO, "contract": "1"}),
    ("contract 2", "POST", "/task", AS_CLIENT, {**HELLO, "contract": 2}),
    ("input str", "POST", "/task", AS_CLIENT, {**HELLO, "input": "x"}),
    ("input null", "POST", "/task", AS_CLIENT, {**HELLO, "input": None}),
    ("bad mode", "POST", "/task", AS_CLIENT, {**HELLO, "mode": "x"}),
    ("unknown fn", "POST", "/task", AS_CLIENT, {"function": "nope"}),
    ("unknown fn __proto__", "POST", "/task", AS_CLIENT, {"function": "__proto__"}),
    ("nostream", "POST", "/task", AS_CLIENT, {"function": "fail", "mode": "stream"}),
    ("nohook", "POST", "/task", AS_CLIENT, {**HELLO, "mode": "webhook"}),
    ("handler fail", "POST", "/task", AS_CLIENT, {"function": "fail"}),
    ("undef", "POST", "/task", AS_CLIENT, {"function": "undef"}),
    ("logs noauth", "GET", "/logs", NOKEY, None),
    ("off noauth", "POST", "/off", NOKEY, None),
    ("off", "POST", "/off", AS_CLIENT, None),
    ("on", "POST", "/on", AS_CLIENT, None),
]

# The same text under another status (marked * in the contract), or something better to say.
# (name, body, our status, our text or None for the same)
BETTER: list[tuple[str, object, int, str | None]] = [
    ("badjson", b"{", 400, "Invalid JSON body"),
    ("input arr", {**HELLO, "input": [1]}, 400, "Invalid input: must be an object"),
    ("unexpected param", {**HELLO, "input": {"x": 1}}, 400, None),
    ("missing param", {"function": "slow"}, 400, None),
    ("type", {"function": "slow", "input": {"ms": "40"}}, 400, None),
    ("min", {**HELLO, "input": {"name": "A"}}, 400, None),
    ("timeout", {"function": "short"}, 504, None),
]


async def _ask(
    worker: RunningWorker, method: str, path: str, headers: Mapping[str, str], body: object
) -> Reply:
    if isinstance(body, dict):
        body = json.dumps({"contract": 1, **body}).encode()
    data = body if isinstance(body, bytes) else None
    return await worker.ask(method, path, headers=headers, data=data)


@pytest.mark.parametrize(
    ("name", "method", "path", "headers", "body"), SAME, ids=[row[0] for row in SAME]
)
async def test_the_answer_is_the_same(
    worker: RunningWorker,
    name: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: object,
) -> None:
    """Status, type and every member of Andera's body are in ours."""
    theirs = OBSERVED[name]
    reply = await _ask(worker, method, path, headers, body)
    assert reply.status == theirs.status
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    _includes(reply.json, theirs.json)


@pytest.mark.parametrize(("name", "body", "status", "text"), BETTER, ids=[row[0] for row in BETTER])
async def test_the_status_says_whose_fault_it_is(
    worker: RunningWorker, name: str, body: object, status: int, text: str | None
) -> None:
    """Andera says 500; the text stays, unless it said nothing."""
    theirs = OBSERVED[name]
    assert theirs.status == 500
    reply = await _ask(worker, "POST", "/task", AS_CLIENT, body)
    assert (reply.status, reply.json["error"]) == (status, text or theirs.json["error"])


async def test_maintenance_is_the_same(worker: RunningWorker) -> None:
    """A task is refused in Andera's words, and the public health says so."""
    await worker.ask("POST", "/off")
    task = await worker.task(HELLO)
    health = await worker.ask("GET", "/health", headers=NOKEY)
    for reply, name in ((task, "task in maint"), (health, "health maint")):
        assert reply.status == OBSERVED[name].status
        _includes(reply.json, OBSERVED[name].json)


async def test_a_balancer_may_drain(worker: RunningWorker) -> None:
    """Ours: `x-lb-auth` alone is enough, where Andera says 401."""
    assert OBSERVED["off lb only"].status == 401
    assert (await worker.ask("POST", "/off", headers=AS_BALANCER)).status == 200


async def test_webhooks_are_answered_the_same(worker: RunningWorker) -> None:
    """Success word for word; a hook that refuses has the same text under 502."""
    async with hook_receiver() as receiver:
        task = {**HELLO, "mode": "webhook", "webhook": {"url": receiver.url()}}
        sent = await worker.task(task)
        receiver.script += [503] * 4
        failed = await worker.task(task)
        raised = await worker.task({**task, "function": "fail"})
    _includes(sent.json, OBSERVED["webhook ok"].json)
    _includes(failed.json, OBSERVED["webhook fails"].json)
    _includes(raised.json, OBSERVED["webhook fn fails"].json)
    assert [sent.status, failed.status, raised.status] == [200, 502, 500]
    assert receiver.received[0].body == b'{"message":"Hello World!"}'


async def test_logs_have_the_same_form(worker: RunningWorker) -> None:
    """`{"logs": [line, …]}`, each line beginning as Andera's do."""
    form = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] \[[A-Z]+\] \[[A-Z]+\] .+")
    assert form.fullmatch(observed_log_line())
    lines = await worker.logs()
    assert lines
    assert all(form.fullmatch(line) for line in lines)


# The capture


@function(streaming=True)
async def hello(name: str = "World", *, ctx: Context) -> dict[str, str]:
    """Does what the function of the captured worker did."""
    await ctx.stream(f"Hello {name}!")
    return {"message": f"Hello {name}!"}


def _body(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return body
    size, _, rest = body.partition(b"\r\n")
    return rest[: int(size, 16)]


async def _replay(worker: RunningWorker, request: bytes) -> bytes:
    """Send captured bytes as they are, on a connection of their own, and read the answer."""
    reader, writer = await worker.connect()
    writer.write(request.replace(b"Connection: keep-alive", b"Connection: close"))
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("mode", ["sync", "stream", "webhook"])
async def test_an_andera_balancers_bytes_are_understood(mode: str) -> None:
    """The captured task requests, byte for byte, get the captured bodies."""
    mark = {"sync": b'"Ada"', "stream": b'"Bo"', "webhook": b'"Cy"'}[mode]
    ((request, theirs),) = [pair for pair in exchanges() if mark in pair[0]]
    async with running_worker([hello], webhook_retry_delay=1) as worker:
        ours = await _replay(worker, request)
    if mode == "stream":
        assert _body(ours) == _body(theirs) == b"Hello Bo!"
        return
    _includes(json.loads(_body(ours)), json.loads(_body(theirs)))
    status = b" 502 " if mode == "webhook" else b" 200 "
    assert status in ours.partition(b"\r\n")[0]


async def test_an_andera_balancers_health_checks_are_answered() -> None:
    """Each captured check gets the captured members."""
    async with running_worker([hello]) as worker:
        request, theirs = next(pair for pair in exchanges() if b"GET /health" in pair[0])
        ours = json.loads(_body(await _replay(worker, request)))
    wanted = json.loads(_body(theirs))
    assert [each["name"] for each in ours["functions"]] == ["hello"]
    del wanted["functions"]  # Andera says `required: false`, ours leaves it out
    _includes(ours, wanted)


async def test_an_andera_balancers_socket_is_served_byte_for_byte() -> None:
    """The captured upgrade and ping get the captured accept, subprotocol and slots."""
    frames = [frame for frame in captured_frames() if frame.port == "ws"]
    upgrade, accepted, ping, slots = frames[:4]
    async with running_worker([hello]) as worker:
        reader, writer = await worker.connect()
        writer.write(upgrade.data)
        answer = await reader.readuntil(b"\r\n\r\n")
        theirs = dict(line.split(b": ") for line in accepted.data.splitlines()[1:] if line)
        ours = dict(line.split(b": ") for line in answer.splitlines()[1:] if line)
        for name in (b"Sec-WebSocket-Accept", b"Sec-WebSocket-Protocol"):
            assert {k.lower(): v for k, v in ours.items()}[name.lower()] == theirs[name]
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-extensions" not in answer.lower()
        writer.write(ping.data)
        assert await reader.readexactly(len(slots.data)) == slots.data
        writer.close()
