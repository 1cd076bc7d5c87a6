"""The other routes of a worker (contract §3), and what all of them have in common."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from typing import cast

import pytest

from tests.contract.worker.running import (
    AS_CLIENT,
    AUTH_KEY,
    LB_KEY,
    JsonObject,
    RunningWorker,
    running_worker,
)
from tests.fakes.waiting import wait_until
from worker import function

AS_BALANCER = {"x-lb-auth": LB_KEY}
BOTH = {**AS_CLIENT, **AS_BALANCER}
LINE = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] \[[A-Z]+\] \[[A-Z]+\] .+")


@pytest.fixture
async def worker() -> AsyncGenerator[RunningWorker]:
    """The worker of the folder `hosted/`."""
    async with running_worker(group="g1") as running:
        yield running


# Health


@pytest.mark.parametrize(
    ("headers", "full"),
    [
        ({}, False),
        ({"Authorization": "x"}, False),
        ({"x-lb-auth": "x"}, False),
        ({"Authorization": AUTH_KEY}, True),
        ({"Authorization": f"Bearer {LB_KEY}"}, True),
        ({"x-lb-auth": LB_KEY}, True),
        ({"x-lb-auth": AUTH_KEY}, True),
        ({"Authorization": "x", "x-lb-auth": LB_KEY}, True),
    ],
)
async def test_health_is_never_401(
    worker: RunningWorker, headers: Mapping[str, str], full: bool
) -> None:
    """Either key in either header opens the full view; everybody else sees the status."""
    reply = await worker.ask("GET", "/health", headers=headers)
    assert reply.status == 200
    assert (reply.json != {"status": "ready"}) is full


async def test_health_says_maintenance(worker: RunningWorker) -> None:
    """The public view follows, and no slot is available."""
    await worker.ask("POST", "/off")
    assert (await worker.ask("GET", "/health", headers={})).json == {"status": "maintenance"}
    full = await worker.health()
    assert full["status"] == "maintenance"
    assert full["slots"] == {"used": 0, "available": 0, "limit": 2, "queue": 0}


async def test_the_full_view_has_every_member(worker: RunningWorker) -> None:
    """Andera's members, and ours beside them."""
    health = await worker.health()
    functions = cast("list[JsonObject]", health.pop("functions"))
    system = health.pop("system")
    port = int(worker.url.rpartition(":")[2])
    assert health.pop("worker_id") == worker.worker.status.identity.worker_id
    assert health.pop("version")
    assert health == {
        "status": "ready", "group": "g1", "contract": 1, "websocketPort": port, "services": [],
        "tags": {"model": "m1", "version": 3},
        "slots": {"used": 0, "available": 2, "limit": 2, "queue": 0},
        "stuck": 0, "link": {"path": "/link", "version": 1, "min_version": 1},
    }  # fmt: skip
    assert isinstance(system, dict)
    assert system.keys() == {"uptime", "usedMemoryPercent", "cpuLoad"}
    names = ["fail", "hello", "short", "slow", "streamfail", "streamy", "undef"]
    assert [each["name"] for each in functions] == names
    assert functions[1] == {
        "name": "hello", "kind": "function", "description": "Greets someone.",
        "params": {"name": {"type": "string", "default": "World", "min": 2, "max": 20}},
        "inputSchema": {
            "type": "object", "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "default": "World", "minLength": 2, "maxLength": 20}
            },
        },
        "config": {
            "timeout": None, "retries": 0, "retryDelay": 1.0, "supportsStreaming": False,
            "idempotent": False,
        },
    }  # fmt: skip


# Maintenance


@pytest.mark.parametrize("path", ["/off", "/on"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "x"}, 401),
        ({"Authorization": LB_KEY}, 401),
        ({"x-lb-auth": "x"}, 401),
        ({**AS_CLIENT, "x-lb-auth": "x"}, 401),
        (AS_CLIENT, 200),
        (BOTH, 200),
        (AS_BALANCER, 200),
    ],
)
async def test_either_key_switches_maintenance(
    worker: RunningWorker, path: str, headers: Mapping[str, str], status: int
) -> None:
    """AUTH_KEY, or LB_AUTH_KEY in `x-lb-auth`; a wrong `x-lb-auth` spoils the rest."""
    assert (await worker.ask("POST", path, headers=headers)).status == status


async def test_off_and_on_answer_as_andera_does(worker: RunningWorker) -> None:
    """Their bodies are exactly Andera's; twice is as good as once."""
    for _ in range(2):
        off = await worker.ask("POST", "/off")
        assert off.json == {"status": "maintenance", "message": "Maintenance mode enabled"}
    assert (await worker.task({"function": "hello"})).json == {
        "success": False,
        "error": "Worker is in maintenance mode",
        "code": "maintenance",
    }
    for _ in range(2):
        on = await worker.ask("POST", "/on")
        assert on.json == {"status": "ready", "message": "Maintenance mode disabled"}
    assert (await worker.task({"function": "hello"})).status == 200


async def test_off_can_wait_until_the_worker_is_drained() -> None:
    """`?wait=` answers late when a task still runs, and at once when none does."""
    gate = asyncio.Event()

    @function
    async def gated() -> None:
        await gate.wait()

    async with running_worker([gated]) as worker:
        call = asyncio.create_task(worker.task({"function": "gated"}))
        await wait_until(lambda: worker.used() == 1, "the task runs")
        late = await worker.ask("POST", "/off?wait=0.05")
        assert (late.json["status"], late.json["drained"]) == ("maintenance", False)
        drained = asyncio.create_task(worker.ask("POST", "/off?wait=10"))
        gate.set()
        assert (await drained).json["drained"] is True
        assert (await call).status == 200


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf", "3601", ""])
async def test_a_wrong_wait_is_refused(worker: RunningWorker, wait: str) -> None:
    """And nothing is switched."""
    reply = await worker.ask("POST", f"/off?wait={wait}")
    assert (reply.status, reply.code) == (400, "invalid_field")
    assert reply.json["error"] == "Invalid wait: must be a number of seconds from 0 to 3600"
    assert worker.worker.status.status() == "ready"


# Logs


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": LB_KEY}, 401),
        ({"x-lb-auth": AUTH_KEY}, 401),
        (AS_CLIENT, 200),
        (AS_BALANCER, 200),
    ],
)
async def test_each_key_opens_the_log_in_its_own_header(
    worker: RunningWorker, headers: Mapping[str, str], status: int
) -> None:
    """A key in the other's header does not."""
    assert (await worker.ask("GET", "/logs", headers=headers)).status == status


async def test_lines_have_anderas_form_and_can_be_chosen(worker: RunningWorker) -> None:
    """Oldest first; by number, level, time and task."""
    reply = await worker.task({"function": "fail"})
    task_id = str(reply.json["task_id"])

    async def is_noted() -> bool:
        return any(task_id in line for line in await worker.logs())

    await wait_until(is_noted, "the failure is in the log")
    lines = await worker.logs()
    assert all(LINE.fullmatch(line) for line in lines)
    assert lines == sorted(lines, key=lambda line: line[:26])
    assert await worker.logs("?limit=1") == (await worker.logs())[-1:]
    assert all("[WARN]" in line or "[ERROR]" in line for line in await worker.logs("?level=warn"))
    assert await worker.logs("?since=2999-01-01T00:00:00Z") == []
    chosen = await worker.logs(f"?task_id={task_id}")
    assert chosen
    assert all(task_id in line for line in chosen)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "level=loud", "since=now", "follow=ws"])
async def test_a_wrong_query_is_refused(worker: RunningWorker, query: str) -> None:
    """With the name of what is wrong."""
    reply = await worker.ask("GET", f"/logs?{query}")
    assert (reply.status, reply.code) == (400, "invalid_field")
    assert query.partition("=")[0] in str(reply.json["error"])


async def test_the_log_can_be_followed(worker: RunningWorker) -> None:
    """`follow=sse` sends a line as soon as it is written."""
    url = f"{worker.url}/logs?follow=sse&limit=1"
    async with worker.session.get(url, headers=AS_CLIENT) as followed:
        assert followed.headers["Content-Type"] == "text/event-stream"
        assert (await followed.content.readline()).startswith(b"data: [")
        await worker.ask("POST", "/off")
        seen = b""
        while b"maintenance" not in seen:
            seen = await followed.content.readline()
            assert seen


# Documents and pages


async def test_openapi_names_every_route_and_each_functions_input(worker: RunningWorker) -> None:
    """The document is public; what it says of functions is what they say of themselves."""
    reply = await worker.ask("GET", "/openapi", headers={})
    document = json.loads(reply.body)
    assert document["openapi"].startswith("3.1")
    paths = {
        "/task",
        "/health",
        "/logs",
        "/off",
        "/on",
        "/openapi",
        "/docs",
        "/metrics",
        "/",
        "/link",
    }
    assert document["paths"].keys() == paths
    body = document["paths"]["/task"]["post"]["requestBody"]["content"]["application/json"]
    inputs = {
        each["properties"]["function"]["const"]: each["properties"]["input"]
        for each in body["schema"]["oneOf"]
    }
    assert inputs["hello"]["properties"]["name"]["minLength"] == 2


async def test_docs_load_nothing_from_elsewhere(worker: RunningWorker) -> None:
    """Page, script and style come from the worker; the policy allows nothing else."""
    page = await worker.ask("GET", "/docs", headers={})
    assert page.status == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert linked
    for path in linked:
        assert path.startswith("/docs/")
        assert (await worker.ask("GET", path, headers={})).status == 200
    assert (await worker.ask("GET", "/docs/..%2Fpyproject.toml", headers={})).status == 404


async def test_docs_can_be_switched_off() -> None:
    """OPENAPI_ENABLED=false leaves neither document nor page."""
    async with running_worker(openapi_enabled=False) as worker:
        assert (await worker.ask("GET", "/openapi")).status == 404
        assert (await worker.ask("GET", "/docs")).status == 404
        assert b"/docs" not in (await worker.ask("GET", "/")).body


async def test_metrics_are_prometheus_text(worker: RunningWorker) -> None:
    """Counts are those of the tasks that ran."""
    await worker.task({"function": "hello"})
    reply = await worker.ask("GET", "/metrics", headers={})
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    text = reply.body.decode()
    assert 'cabrank_worker_attempts_total{function="hello",outcome="succeeded"} 1.0' in text
    assert "cabrank_worker_slots_limit 2.0" in text


async def test_the_root_says_what_this_is() -> None:
    """In a page; what settings say is shown as text, never as markup."""
    async with running_worker(group="<b>g</b>") as worker:
        reply = await worker.ask("GET", "/", headers={})
    assert reply.headers["Content-Type"].startswith("text/html")
    assert b"Cabrank worker" in reply.body
    assert b"&lt;b&gt;g&lt;/b&gt;" in reply.body


# What all routes have in common


@pytest.mark.parametrize("path", ["/nope", "/task/x", "/health/"])
async def test_an_unknown_path_is_404(worker: RunningWorker, path: str) -> None:
    """In the contract's body."""
    reply = await worker.ask("GET", path)
    assert reply.status == 404
    assert reply.json == {"success": False, "error": "Not found", "code": "not_found"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/task", "POST"),
        ("GET", "/off", "POST"),
        ("GET", "/on", "POST"),
        ("DELETE", "/health", "GET"),
        ("POST", "/logs", "GET"),
        ("PUT", "/metrics", "GET"),
    ],
)
async def test_a_wrong_method_is_405(
    worker: RunningWorker, method: str, path: str, allowed: str
) -> None:
    """With the methods that would do."""
    reply = await worker.ask(method, path)
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert allowed in reply.headers["Allow"]


async def test_malformed_http_is_400(worker: RunningWorker) -> None:
    """In the contract's body too."""
    reader, writer = await worker.connect()
    writer.write(b"nonsense\r\n\r\n")
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": AUTH_KEY}, 401),
        ({"x-lb-auth": LB_KEY}, 401),
        ({"Authorization": LB_KEY}, 400),
        ({"Authorization": f"Bearer {LB_KEY}"}, 400),
    ],
)
async def test_a_link_needs_the_balancers_key(
    worker: RunningWorker, headers: Mapping[str, str], status: int
) -> None:
    """A wrong key is 401 before any upgrade; a right one without an upgrade is a bad request."""
    assert (await worker.ask("GET", "/link", headers=headers)).status == status
