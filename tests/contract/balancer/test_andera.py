"""Interop: our balancer drives a worker of Andera's, and answers a client of Andera's as the contract keeps it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from tests.contract.worker.observed import captured_frames, exchanges, observed_answers
from tests.fakes.andera_worker import AUTH_KEY, AnderaWorker, JsonObject, andera_worker
from tests.fakes.hook_receiver import hook_receiver
from tests.fakes.in_process_balancer import RunningBalancer, running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.task_functions import stream
from tests.fakes.waiting import wait_until
from worker import Context, function

OBSERVED = observed_answers("observed-balancer.txt")
WITH_WORKER_KEY = {"x-wr-auth": AUTH_KEY}
DURABLE = {"Prefer": "respond-async"}


@pytest.fixture
async def andera() -> AsyncGenerator[AnderaWorker]:
    """Run an Andera worker with two slots."""
    async with andera_worker(LB_KEY) as running:
        yield running


@pytest.fixture
async def balancer(andera: AnderaWorker, tmp_path: Path) -> AsyncGenerator[RunningBalancer]:
    """Run our balancer over it; the entry names the worker's key."""
    entry = {"url": andera.url, "auth_key": AUTH_KEY}
    async with running_balancer(tmp_path, entry, ws_heartbeat_interval=50) as running:
        yield running


# The worker's side


async def test_its_worker_is_shown_as_legacy(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """A worker without a Cabrank link is driven by HTTP and its slot socket, and shown so."""
    await wait_until(lambda: andera.pings > 1, "each heartbeat sends a ping")
    (shown,) = await balancer.workers()
    assert (shown["link"], shown["status"], shown["group"]) == ("legacy", "ready", "default")
    assert shown["slots"] == {"used": 0, "available": 2, "limit": 2, "queue": 0}
    assert shown["tags"] == {"model": "m1"}
    andera.system = {"uptime": 99}
    await wait_until(
        lambda: balancer.balancer.fleet.workers()[0].facts["system"] == {"uptime": 99},
        "changed facts are taken",
    )


async def test_a_task_goes_as_andera_s_balancer_sends_it(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """The same request as in the capture, and more beside: both keys, group, function, contract, input."""
    reply = await balancer.task("hello", {"name": "Ada"})
    assert (reply.status, reply.json["result"]) == (200, {"message": "Hello Ada!"})
    captured = next(
        request for request, _ in exchanges() if b"POST /task" in request and b"Ada" in request
    )
    head, _, body = captured.partition(b"\r\n\r\n")
    theirs = cast("JsonObject", json.loads(body))
    del theirs["_taskId"]  # its own business
    assert theirs.items() <= andera.bodies[0].items()
    names = {line.split(b":")[0].decode().lower() for line in head.split(b"\r\n")[1:]}
    assert {"authorization", "x-lb-auth", "content-type"} <= names & andera.headers[0].keys()
    assert andera.headers[0]["authorization"] == AUTH_KEY
    assert andera.headers[0]["x-lb-auth"] == LB_KEY


async def test_the_slot_socket_is_opened_as_captured(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """The capture's first frame is a `ping`, and so is ours; its answer is what our reader takes."""
    frames = [frame for frame in captured_frames() if frame.port == "ws" and frame.to_worker]
    assert b"Sec-WebSocket-Protocol: lbk" in frames[0].data
    mask, masked = frames[1].data[2:6], frames[1].data[6:]
    assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked)) == b"ping"
    await wait_until(lambda: andera.pings, "ours pings too")
    assert balancer.balancer.fleet.workers()[0].status == "ready"


@pytest.mark.parametrize(
    ("name", "status", "error", "code"),
    [
        ("fail", 500, "boom", "function_error"),
        ("short", 504, "Timeout", "timeout"),
    ],
)
async def test_its_failures_are_passed_on_at_once(
    balancer: RunningBalancer, name: str, status: int, error: str, code: str
) -> None:
    """The worker's text comes through; its 500 `Timeout` is a time-out."""
    reply = await balancer.task(name)
    assert (reply.status, reply.json["error"], reply.code) == (status, error, code)


async def test_a_stream_comes_piece_by_piece(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """Pieces of its text/plain stream are passed on; compression is not asked for (fault 7)."""
    andera.pieces["streamy"] = ["Hello ", "Wörld", "!\n"]
    async with balancer.stream("streamy") as reply:
        assert reply.status == 200
        assert await reply.text() == "Hello Wörld!\n"
    assert andera.headers[0]["accept-encoding"] == "identity"
    assert andera.bodies[0]["mode"] == "stream"


@pytest.mark.parametrize("with_200", [True, False])
async def test_a_refused_stream_is_400(
    balancer: RunningBalancer, andera: AnderaWorker, with_200: bool
) -> None:
    """A refusal as JSON is a refusal, whatever its status (fault 8)."""
    andera.refuse_streams_with_200 = with_200
    reply = await balancer.task("fail", mode="stream")
    assert reply.status == 400
    assert reply.json["error"] == "Function 'fail' does not support streaming"


async def test_a_stream_that_breaks_is_a_broken_transfer(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """A transfer that ends in the middle is not shown as a success."""
    andera.pieces["streamy"] = ["part", "<raise>"]
    async with balancer.stream("streamy") as reply:
        assert await reply.content.readexactly(4) == b"part"
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_a_webhook_task_goes_as_sync_and_is_delivered_by_us(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """The worker sees mode sync; the balancer's outbox delivers the bare result."""
    async with hook_receiver() as receiver:
        reply = await balancer.task("hello", mode="webhook", webhook={"url": receiver.url()})
        assert reply.status == 202
        await wait_until(lambda: receiver.received, "the webhook came")
        assert receiver.received[0].body == b'{"message": "Hello World!"}'
    assert andera.bodies[0]["mode"] == "sync"


async def test_its_slots_bound_what_it_gets(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """With two slots taken the third call waits here, not in the worker's queue."""
    gate = asyncio.Event()

    async def hold(given: JsonObject) -> object:
        await gate.wait()
        return given

    andera.calls["hello"] = hold
    calls = [asyncio.create_task(balancer.task("hello", {"n": n})) for n in range(3)]
    await wait_until(lambda: len(andera.bodies) == 2, "two run")
    scheduler = balancer.balancer.engine.scheduler
    await wait_until(lambda: scheduler.counts().waiting == 1, "one waits")
    assert andera.used == 2
    gate.set()
    assert [reply.status for reply in await asyncio.gather(*calls)] == [200, 200, 200]


async def test_calls_go_on_while_the_slot_socket_comes_and_goes(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """A closed slot socket breaks no call and keeps no task away: /health tells the slots meanwhile."""
    gate = asyncio.Event()

    async def hold(given: JsonObject) -> object:
        await gate.wait()
        return "done"

    andera.calls["hold"] = hold
    call = asyncio.create_task(balancer.task("hello"))
    await call
    andera.calls["hello"] = hold
    call = asyncio.create_task(balancer.task("hello"))
    await wait_until(lambda: andera.used == 1, "it runs")
    andera.has_socket = False
    await andera.close_sockets()
    looks = andera.looks
    await wait_until(lambda: andera.looks > looks + 1, "the balancer looked twice since")
    assert balancer.balancer.fleet.workers()[0].status == "ready"
    gate.set()
    reply = await call
    assert (reply.status, reply.json["result"]) == (200, "done")
    assert (await balancer.task("streamy", mode="stream")).status == 200


async def test_a_call_goes_on_while_health_does_not_answer(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """A worker that shows its public view only for a while is not given tasks, but its calls end well."""
    gate = asyncio.Event()

    async def hold(given: JsonObject) -> object:
        await gate.wait()
        return "done"

    andera.calls["hello"] = hold
    call = asyncio.create_task(balancer.task("hello"))
    await wait_until(lambda: andera.used == 1, "it runs")
    key, andera._lb_key = andera._lb_key, "changed"  # pyright: ignore[reportPrivateUsage] a verb of this one test
    fleet = balancer.balancer.fleet
    await wait_until(lambda: fleet.workers()[0].status == "unreachable", "it is not usable")
    andera._lb_key = key  # pyright: ignore[reportPrivateUsage]
    await wait_until(lambda: fleet.workers()[0].status == "ready", "it is again")
    gate.set()
    reply = await call
    assert (reply.status, reply.json["result"]) == (200, "done")
    assert len(andera.bodies) == 1


async def test_a_client_that_leaves_ends_its_call(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """The connection to the worker is closed: all that plain HTTP can say."""
    ended = asyncio.Event()

    async def hold(given: JsonObject) -> object:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return given

    andera.calls["hello"] = hold
    call = asyncio.create_task(balancer.task("hello"))
    await wait_until(lambda: andera.used == 1, "it runs")
    call.cancel()
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_wrong_worker_key_is_not_the_caller_s_401(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """When the worker refuses the key it was given, the answer is 502 at once and says so."""
    reply = await balancer.task("hello", headers={"x-wr-auth": "wrong"})
    assert (reply.status, reply.code) == (502, "worker_unreachable")
    assert reply.json["error"] == "Worker refused the key it was given: Unauthorized"
    kept = await balancer.task("hello", headers={"x-wr-auth": "wrong", **DURABLE})
    assert (await balancer.ended(kept.json["task_id"]))["code"] == "worker_unreachable"
    assert len(andera.headers) == 2


async def test_the_key_may_come_with_the_request(andera: AnderaWorker, tmp_path: Path) -> None:
    """x-wr-auth is used when the entry names no key, also by a durable task, where it is sealed."""
    andera.keys = {"from-the-caller"}
    store = f"sqlite:///{tmp_path}/keys.db"
    async with running_balancer(tmp_path, andera.url, store_url=store) as balancer:
        headers = {"x-wr-auth": "from-the-caller"}
        assert (await balancer.task("hello", headers=headers)).status == 200
        kept = await balancer.task("hello", headers={**headers, **DURABLE})
        assert (await balancer.ended(kept.json["task_id"]))["status"] == "succeeded"
        for file in tmp_path.glob("keys.db*"):
            assert b"from-the-caller" not in file.read_bytes()


async def test_a_maintenance_order_is_put_back_on_a_restarted_worker(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """An order outlives the worker's restart, whose memory does not hold it."""
    (shown,) = await balancer.workers()
    off = await balancer.ask("POST", f"/workers/{shown['id']}/off")
    assert off.status == 200
    assert andera.maintenance
    await andera.stop()
    await andera.start()
    await wait_until(lambda: andera.maintenance, "the order was given again")
    on = await balancer.ask("POST", f"/workers/{shown['id']}/on")
    assert on.status == 200
    assert not andera.maintenance


async def test_a_worker_that_says_maintenance_gives_the_task_back(
    balancer: RunningBalancer, andera: AnderaWorker
) -> None:
    """A 503 spends no attempt: the task waits for the end of the maintenance."""
    andera.maintenance = True
    kept = await balancer.task("hello", headers=DURABLE)
    andera_host = andera.url.removeprefix("http://")
    await wait_until(
        lambda: balancer.balancer.fleet.workers()[0].status == "maintenance", "it was seen"
    )
    await balancer.ask("POST", f"/workers/{andera_host}/on")
    shown = await balancer.ended(kept.json["task_id"])
    assert (shown["status"], len(cast("list[object]", shown["attempts"]))) == ("succeeded", 1)


@pytest.mark.parametrize(
    "slots",
    [
        {"limit": float("inf")},
        {"limit": float("nan"), "available": 1},
        {"limit": 10**400},
        {"limit": -1, "available": "x", "used": None},
        5,
    ],
)
async def test_absurd_numbers_do_not_end_the_dialling(
    balancer: RunningBalancer, andera: AnderaWorker, slots: object
) -> None:
    """Whatever a worker claims, it is asked again, and used when it makes sense again."""
    sane = andera._slot_numbers  # pyright: ignore[reportPrivateUsage] a verb of this one test
    andera._slot_numbers = lambda: cast("dict[str, int]", slots)  # pyright: ignore[reportPrivateUsage]
    looks = andera.looks
    await wait_until(lambda: andera.looks > looks + 2, "it is looked at")
    andera._slot_numbers = sane  # pyright: ignore[reportPrivateUsage]
    assert (await balancer.task("hello")).status == 200


# The client's side


@function
async def hello(name: str = "World") -> dict[str, str]:
    """Greets."""
    return {"message": f"Hello {name}!"}


@function
async def fail() -> None:
    """Raises."""
    raise RuntimeError("boom")


@function(streaming=True)
async def streamy(*, ctx: Context) -> None:
    """Streams two pieces."""
    await ctx.stream("Hello ")
    await ctx.stream("World!\n")


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncGenerator[RunningBalancer]:
    """Run our balancer over our worker, with the functions of the observed one."""
    async with (
        running_worker(hello, fail, streamy, stream, group="g1") as worker,
        running_balancer(tmp_path, worker.url) as running,
    ):
        yield running


def _g1(**members: object) -> JsonObject:
    return {"group": "g1", **members}


KEPT: list[tuple[str, str | None, JsonObject]] = [
    ("ok", "hello", _g1(input={"name": "LB"})),
    ("ok extra fields+priority", "hello", _g1(priority=5, more=1)),
    ("missing group", None, {"group": None}),
    ("webhook nourl", "hello", _g1(mode="webhook")),
]


@pytest.mark.parametrize(("name", "function_name", "members"), KEPT, ids=[row[0] for row in KEPT])
async def test_answers_that_the_contract_keeps(
    ours: RunningBalancer, name: str, function_name: str | None, members: JsonObject
) -> None:
    """Status and every member of Andera's answer are in ours; we add members beside them."""
    theirs = OBSERVED[name]
    reply = await ours.task(function_name, headers=WITH_WORKER_KEY, more=members)
    assert reply.status == theirs.status
    assert theirs.json.items() <= reply.json.items()


async def test_a_stream_and_an_accepted_webhook_read_as_theirs(ours: RunningBalancer) -> None:
    """The stream's bytes are the same; the accepted webhook has the same members, with our 202."""
    async with ours.stream("streamy", group="g1") as reply:
        text = await reply.text()
    assert OBSERVED["stream ok"].body.endswith(text.rstrip("\n"))
    accepted = await ours.task(
        "hello", group="g1", mode="webhook", webhook={"url": "http://127.0.0.1:9/x"}
    )
    theirs = OBSERVED["webhook"]
    assert (theirs.status, accepted.status) == (200, 202)
    assert theirs.json.items() <= accepted.json.items()


async def test_health_shows_what_their_clients_read(ours: RunningBalancer) -> None:
    """The public view is equal; the full one has every member of Andera's but its own services'."""
    public = await ours.ask("GET", "/health", headers={})
    assert public.json == OBSERVED["lb health"].json
    theirs, shown = OBSERVED["lb health auth"].json, (await ours.ask("GET", "/health")).json
    assert theirs.keys() <= shown.keys()
    their_worker = cast("list[JsonObject]", theirs["workers"])[0]
    our_worker = cast("list[JsonObject]", shown["workers"])[0]
    assert their_worker.keys() <= our_worker.keys()
    assert (
        cast("JsonObject", their_worker["slots"]).keys()
        == cast("JsonObject", our_worker["slots"]).keys()
    )


@pytest.mark.parametrize("name", ["noauth", "lb logs noauth"])
async def test_strangers_get_their_401(ours: RunningBalancer, name: str) -> None:
    """The body of 401 begins as theirs."""
    path = "/logs" if "logs" in name else "/task"
    reply = await ours.ask("GET" if path == "/logs" else "POST", path, headers={}, data=b"{}")
    assert reply.status == OBSERVED[name].status
    assert OBSERVED[name].json.items() <= reply.json.items()


@pytest.mark.parametrize(
    ("name", "members", "status", "code"),
    [
        ("function throws (TASK_TIMEOUT=8s)", {"function_name": "fail"}, 500, "function_error"),
        ("bad input", {"input": {"nope": 1}}, 400, "invalid_params"),
        ("no such group", {"group": "nope"}, 404, "group_not_found"),
        ("priority out of range", {"priority": 9_999_999}, 400, "invalid_priority"),
        ("stream unsupported fn", {"mode": "stream"}, 400, "streaming_not_supported"),
    ],
)
async def test_where_andera_hangs_or_lies_ours_tells_at_once(
    ours: RunningBalancer, name: str, members: JsonObject, status: int, code: str
) -> None:
    """What Andera answered after 8 s as `Task timed out`, or with a wrong status, is told as it is."""
    assert name in OBSERVED
    members = {"group": "g1", **members}
    reply = await ours.task(str(members.pop("function_name", "hello")), more=members)
    assert (reply.status, reply.code) == (status, code)
