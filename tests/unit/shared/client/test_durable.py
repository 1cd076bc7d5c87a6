"""What the client says of tasks that are named, delayed or waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from shared.client import Client
from shared.errors import TaskTimeout, failure
from tests.fakes.contract_server import ContractServer
from tests.fakes.waiting import wait_until


async def test_a_call_may_be_named(server: ContractServer, client: Client) -> None:
    """By a header; what it asks for is the same."""
    await client.call("echo", idempotency_key="order-1", retry_on=["timeout"])
    assert server.headers[-1]["idempotency-key"] == "order-1"
    assert server.bodies == [
        {"function": "echo", "contract": 1, "input": {}, "retry_on": ["timeout"]}
    ]
    await client.call("echo")
    assert "idempotency-key" not in server.headers[-1]


@pytest.mark.parametrize(
    ("wait", "prefer"), [(0, "respond-async"), (5, "respond-async, wait=5"), (0.4, "respond-async")]
)
async def test_a_task_may_be_named_delayed_and_waited_for(
    server: ContractServer, client: Client, wait: float, prefer: str
) -> None:
    """In the words of the contract."""
    moment = datetime(2030, 1, 2, 3, tzinfo=UTC)
    await client.submit("echo", idempotency_key="k", wait=wait, delay_s=2.5, retry_on=["timeout"])
    await client.submit("echo", run_at=moment)
    assert server.headers[-2]["prefer"] == prefer
    assert server.headers[-2]["idempotency-key"] == "k"
    given: dict[str, object] = {"function": "echo", "contract": 1, "input": {}}
    assert server.bodies == [
        {**given, "delay_s": 2.5, "retry_on": ["timeout"]},
        {**given, "run_at": "2030-01-02T03:00:00+00:00"},
    ]


async def test_a_named_call_is_made_again_when_its_connection_breaks(
    server: ContractServer, client: Client
) -> None:
    """The server knows it by its key."""
    calls = 0

    async def break_once(given: dict[str, object]) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            await server.abort_connections()
            await asyncio.Event().wait()
        return calls

    server.calls["break"] = break_once
    assert await client.call("break", idempotency_key="k") == 2


async def test_waiting_asks_the_server_to_wait(server: ContractServer, client: Client) -> None:
    """For as long as there is time, and for half a minute at most."""
    server.records["t"] = {"task_id": "t", "status": "running"}
    with pytest.raises(TaskTimeout):
        await client.wait("t", timeout_s=0.05)
    assert 0 < float(server.queries[0]["wait"]) <= 0.05
    waiting = asyncio.create_task(client.wait("t"))
    await wait_until(lambda: "30.000" in [each.get("wait") for each in server.queries], "it asks")
    server.records["t"] = {"task_id": "t", "status": "succeeded", "due_at": None}
    assert (await waiting).finished


async def test_who_may_not_wait_there_looks(server: ContractServer) -> None:
    """A server with too many waiting callers still shows the task."""
    server.records["t"] = {"task_id": "t", "status": "succeeded"}
    server.refusals = [failure("queue_full")]
    async with Client(server.url, key="the-key", retries=0) as impatient:
        assert (await impatient.wait("t")).finished
