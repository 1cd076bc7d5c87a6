"""The client against a server that speaks the contract."""

from __future__ import annotations

import asyncio

import pytest

from cabrank.cli.ports import free_ports
from shared.client import Client
from shared.errors import (
    CabrankError,
    CallerError,
    Conflict,
    FunctionError,
    NotFound,
    TaskCancelled,
    TaskTimeout,
    Unauthorized,
    Unavailable,
    failure,
)
from shared.task_state import TaskStatus
from tests.fakes.contract_server import KEY, ContractServer, Input
from tests.fakes.waiting import wait_until


async def test_a_call_returns_what_the_function_returned(
    server: ContractServer, client: Client
) -> None:
    """Keyword parameters go in, the result comes out."""
    assert await client.call("echo", name="Ada", n=[1, None]) == {"name": "Ada", "n": [1, None]}
    assert server.bodies == [
        {"function": "echo", "contract": 1, "input": {"name": "Ada", "n": [1, None]}}
    ]


async def test_a_function_that_returns_nothing(client: Client) -> None:
    """No result is None."""
    assert await client.call("nothing") is None


async def test_every_option_is_sent(server: ContractServer, client: Client) -> None:
    """The options of a call are members of the body, beside the input."""
    await client.call(
        "echo", input={"group": "mine"}, group="g", contract=2, priority=5, timeout_s=1.5,
        deadline_s=9, max_attempts=2, metadata={"who": "me"}, correlation_id="c-1",
    )  # fmt: skip
    assert server.bodies == [
        {
            "function": "echo", "input": {"group": "mine"}, "group": "g", "contract": 2,
            "priority": 5, "timeout_s": 1.5, "deadline_s": 9, "max_attempts": 2,
            "metadata": {"who": "me"},
        }
    ]  # fmt: skip
    assert server.headers[0]["x-correlation-id"] == "c-1"


async def test_the_clients_own_group_and_contract(server: ContractServer) -> None:
    """What is said once for the client holds for each call, unless the call says otherwise."""
    async with Client(server.url + "/", key=KEY, group="g", contract=3, worker_key="w") as client:
        await client.call("echo")
        await client.call("echo", group="h", contract=4)
    assert [(body["group"], body["contract"]) for body in server.bodies] == [("g", 3), ("h", 4)]
    assert server.headers[0]["x-wr-auth"] == "w"


async def test_a_failure_is_an_error_with_all_that_is_known(client: Client) -> None:
    """Code, message, type of the exception and the task's id are there."""
    with pytest.raises(FunctionError) as caught:
        await client.call("fail", text="no luck")
    error = caught.value
    assert (error.code, error.message) == ("function_error", "no luck")
    assert (error.failure.error_type, error.task_id) == ("ValueError", "task-1")


async def test_a_wrong_key(server: ContractServer) -> None:
    """A stranger is told so."""
    async with Client(server.url, key="wrong") as client:
        with pytest.raises(Unauthorized):
            await client.call("echo")


async def test_an_unknown_function(client: Client) -> None:
    """A 404 is NotFound, its code says what was not found."""
    with pytest.raises(NotFound) as caught:
        await client.call("nope")
    assert caught.value.code == "function_not_found"


async def test_what_the_server_has_not_taken_on_is_repeated(
    server: ContractServer, client: Client
) -> None:
    """A full queue and a restart cost the caller a moment, not an error."""
    server.refusals = [failure("queue_full"), failure("shutting_down")]
    assert await client.call("echo", n=1) == {"n": 1}
    assert len(server.headers) == 3


async def test_a_wait_that_is_too_long_is_told(server: ContractServer, client: Client) -> None:
    """A Retry-After past the bound is the caller's: the error carries it."""
    server.refusals = [failure("queue_full", retry_after_s=120)]
    with pytest.raises(CabrankError) as caught:
        await client.call("echo")
    assert caught.value.retry_after_s == 120
    assert len(server.headers) == 1


async def test_nobody_listens() -> None:
    """A refused connection is `unreachable` and says where."""
    [port] = free_ports("127.0.0.1", 1)
    async with Client(f"http://127.0.0.1:{port}", retries=0) as client:
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port} could not be reached") as caught:
            await client.call("echo")
    assert caught.value.code == "unreachable"


async def test_a_connection_that_breaks_is_not_repeated(server: ContractServer) -> None:
    """The task may have run, so the caller decides."""

    async def breaks(_: Input) -> object:
        await server.abort_connections()
        return None

    server.calls["breaks"] = breaks
    async with Client(server.url, key=KEY) as client:
        with pytest.raises(Unavailable) as caught:
            await client.call("breaks")
    assert caught.value.code == "connection_lost"
    assert len(server.bodies) == 1


async def test_an_answer_that_does_not_come(server: ContractServer) -> None:
    """The client's own limit ends a call that the server never answers."""
    never = asyncio.Event()

    async def hangs(_: Input) -> object:
        return await never.wait()

    server.calls["hangs"] = hangs
    async with Client(server.url, key=KEY, timeout_s=0.05) as client:
        with pytest.raises(TaskTimeout):
            await client.call("hangs")


async def test_a_task_is_handed_over(server: ContractServer, client: Client) -> None:
    """A webhook task gives its id at once; its record is typed."""
    task_id = await client.submit("echo", webhook="http://h/x", metadata=[1], n=1)
    assert task_id == "task-1"
    assert server.bodies[0]["mode"] == "webhook"
    assert server.bodies[0]["webhook"] == {"url": "http://h/x"}
    task = await client.status(task_id)
    assert (task.status, task.finished, task.metadata) == (TaskStatus.QUEUED, False, [1])
    assert task.created_at is not None
    with pytest.raises(CabrankError, match="still queued"):
        task.value()


async def test_a_task_without_a_webhook(server: ContractServer, client: Client) -> None:
    """Without a URL the result is kept for the caller to fetch."""
    await client.submit("echo")
    assert server.headers[0]["prefer"] == "respond-async"
    assert "mode" not in server.bodies[0]


async def test_waiting_for_a_task(server: ContractServer, client: Client) -> None:
    """`wait` returns when the task has finished; `value` is its result."""
    task_id = await client.submit("echo")
    waiting = asyncio.create_task(client.wait(task_id, timeout_s=10))
    await wait_until(lambda: len(server.headers) > 2, "the client polls")
    server.finish(task_id, status="succeeded", result={"n": 1})
    assert (await waiting).value() == {"n": 1}


async def test_waiting_in_vain(client: Client) -> None:
    """A wait that is over is TaskTimeout, and names the task, which goes on."""
    task_id = await client.submit("echo")
    with pytest.raises(TaskTimeout) as caught:
        await client.wait(task_id, timeout_s=0)
    assert caught.value.task_id == task_id


@pytest.mark.parametrize(
    ("members", "kind", "code"),
    [
        ({"status": "failed", "code": "function_error", "error": "boom"}, FunctionError, "function_error"),
        ({"status": "failed", "code": "too_blue", "error": "boom"}, CabrankError, "too_blue"),
        ({"status": "cancelled"}, TaskCancelled, "cancelled"),
        ({"status": "timed_out"}, TaskTimeout, "timeout"),
    ],
)  # fmt: skip
async def test_the_value_of_a_task_that_failed(
    server: ContractServer, client: Client, members: Input, kind: type[CabrankError], code: str
) -> None:
    """`value` raises the error that a call would have raised."""
    task_id = await client.submit("echo")
    server.finish(task_id, **members)
    task = await client.wait(task_id)
    with pytest.raises(kind) as caught:
        task.value()
    assert (caught.value.code, caught.value.task_id) == (code, task_id)


async def test_cancelling(client: Client) -> None:
    """A task is cancelled once; then it has finished."""
    task_id = await client.submit("echo")
    await client.cancel(task_id)
    assert (await client.status(task_id)).status is TaskStatus.CANCELLED
    with pytest.raises(Conflict):
        await client.cancel(task_id)
    with pytest.raises(NotFound):
        await client.cancel("task/of nobody")


async def test_pages_of_tasks(client: Client) -> None:
    """Tasks come newest first, a page at a time."""
    ids = [await client.submit("echo") for _ in range(3)]
    first = await client.tasks(limit=2)
    assert [task.task_id for task in first.tasks] == [ids[2], ids[1]]
    rest = await client.tasks(limit=2, cursor=first.next)
    assert [task.task_id for task in rest.tasks] == [ids[0]]
    assert rest.next is None
    assert (await client.tasks(function="other")).tasks == ()


async def test_workers(server: ContractServer, client: Client) -> None:
    """A worker that is not known yet has only its address; one that is has everything."""
    server.workers = [
        {"id": "a:1", "url": "http://a:1", "status": "unreachable", "weight": 1, "link": "none"},
        {
            "id": "b:1", "url": "http://b:1", "status": "ready", "weight": 2.5, "link": "cabrank",
            "group": "g", "contract": 1, "slots": {"used": 1, "available": 9, "limit": 10, "queue": 0},
            "functions": [{"name": "echo"}], "tags": {"os": "linux"}, "services": [], "system": {},
            "websocketPort": 1, "contractMismatchReason": "function 'f' is missing",
        },
    ]  # fmt: skip
    unknown, known = await client.workers()
    assert (unknown.status, unknown.slots, unknown.group) == ("unreachable", None, None)
    assert known.slots is not None
    assert (known.slots.limit, known.tags, known.weight) == (10, {"os": "linux"}, 2.5)
    assert known.differences == "function 'f' is missing"


async def test_health_needs_no_key(server: ContractServer) -> None:
    """The public view is for everybody."""
    async with Client(server.url) as client:
        assert await client.health() == {"status": "ready"}


async def test_many_calls_at_once(client: Client) -> None:
    """One client carries any number of calls; none waits for a connection of the client."""
    results = await asyncio.gather(*(client.call("echo", n=n) for n in range(120)))
    assert results == [{"n": n} for n in range(120)]


@pytest.mark.parametrize("url", ["127.0.0.1:4000", "ftp://h", "http://", ""])
def test_a_url_that_is_none(url: str) -> None:
    """A typing error in the address is said before anything is sent."""
    with pytest.raises(CallerError):
        Client(url)


async def test_a_redirect_is_not_followed(server: ContractServer, client: Client) -> None:
    """A redirect would carry the key to somebody else."""
    server.redirect = "http://127.0.0.1:1/"
    with pytest.raises(CabrankError) as caught:
        await client.call("echo")
    assert caught.value.code == "bad_answer"


async def test_the_client_can_be_used_again(server: ContractServer) -> None:
    """Closing ends the connections; the next call makes new ones."""
    client = Client(server.url, key=KEY)
    assert await client.call("echo") == {}
    await client.close()
    assert await client.call("echo") == {}
    await client.close()
