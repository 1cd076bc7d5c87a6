"""What happens to connections and to calls under way is the same behind both shells of both processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.edge.edges import SHELLS
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import AUTH_KEY, LB_KEY, running_worker
from tests.fakes.raw_http import Peer
from tests.fakes.task_functions import HeldWork, echo
from tests.fakes.waiting import wait_until
from worker.app import Worker

pytestmark = [
    pytest.mark.parametrize("shell", SHELLS),
    pytest.mark.parametrize("process", ["worker", "balancer"]),
]


class Door:
    """One port, and what is behind it.

    Attributes:
        key: what opens it.
        port: where it listens.
        work: the calls that are held.
        worker: the one worker.
        held: tells how many calls run or wait.
    """

    def __init__(
        self, url: str, key: str, work: HeldWork, worker: Worker, held: Callable[[], int]
    ) -> None:
        self.held = held
        self.key = key
        self.port = int(url.rpartition(":")[2])
        self.work = work
        self.worker = worker

    def call(self, function: str, given: object, *lines: str, version: str = "1.1") -> bytes:
        """Return the bytes of a call."""
        body = json.dumps(
            {"group": "default", "function": function, "contract": 1, "input": given}
        ).encode()
        head = [f"POST /task HTTP/{version}", "Host: x", f"Authorization: {self.key}", *lines]
        return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body

    @asynccontextmanager
    async def peer(self) -> AsyncGenerator[Peer]:
        """Open a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def running_door(
    process: str, shell: str, folder: Path, max_queue: int = 100
) -> AsyncGenerator[Door]:
    """Run a process behind a shell; `max_queue` is of the process whose port it is."""
    work = HeldWork()
    hosted = (echo, *work.functions())
    fast = shell == "lane"
    if process == "worker":
        async with running_worker(*hosted, slots=1, fast_lane=fast, max_queue=max_queue) as worker:
            slots = worker.engine.slots
            yield Door(worker.url, AUTH_KEY, work, worker, lambda: slots().used + slots().queue)
        return
    async with (
        running_worker(*hosted, slots=1) as worker,
        running_balancer(folder, worker.url, fast_lane=fast, max_queue=max_queue) as balancer,
    ):
        scheduler = balancer.balancer.engine.scheduler
        yield Door(balancer.url, LB_KEY, work, worker, lambda: scheduler.counts().tasks)


async def _results(peer: Peer, count: int) -> list[object]:
    return [(await peer.answer()).json["result"] for _ in range(count)]


async def test_pipelined_calls_are_answered_in_order(
    process: str, shell: str, tmp_path: Path
) -> None:
    """However long each takes."""
    async with running_door(process, shell, tmp_path) as door, door.peer() as peer:
        held = door.call("hold", {"label": "0"})
        await peer.send(held + b"".join(door.call("echo", {"text": text}) for text in "123"))
        await wait_until(lambda: door.work.begun, "the first is held")
        door.work.let_go()
        assert await _results(peer, 4) == ["0", "1", "2", "3"]


async def test_a_connection_is_kept(process: str, shell: str, tmp_path: Path) -> None:
    """Between calls, and after a refusal."""
    async with running_door(process, shell, tmp_path) as door, door.peer() as peer:
        assert (await peer.ask(door.call("echo", {"text": "a"}))).status == 200
        assert (await peer.ask(door.call("nope", {}))).status == 404
        assert (await peer.ask(door.call("echo", {"text": "b"}))).json["result"] == "b"


@pytest.mark.parametrize(
    ("version", "line", "kept", "said"),
    [
        ("1.1", "Connection: close", False, "close"), ("1.0", "A: b", False, None),
        ("1.0", "Connection: keep-alive", True, "keep-alive"), ("1.1", "Connection: keep-alive", True, None),
    ],
)  # fmt: skip
async def test_connection_semantics(
    process: str, shell: str, tmp_path: Path, version: str, line: str, kept: bool, said: str | None
) -> None:
    """HTTP/1.0 and `Connection` mean what RFC 9112 says."""
    async with running_door(process, shell, tmp_path) as door, door.peer() as peer:
        call = door.call("echo", {"text": "a"}, line, version=version)
        answer = await peer.ask(call)
        assert (answer.status, answer.headers.get("connection")) == (200, said)
        if kept:
            assert (await peer.ask(call)).status == 200
        else:
            assert await peer.rest() == b""


@pytest.mark.parametrize("how", ["resets", "closes its half"])
async def test_a_caller_who_leaves_cancels(
    process: str, shell: str, tmp_path: Path, how: str
) -> None:
    """Its code ends, and its slot is free for the next."""
    async with running_door(process, shell, tmp_path) as door, door.peer() as peer:
        await peer.send(door.call("hold", {"label": "left"}))
        await wait_until(lambda: door.work.begun, "it runs")
        if how == "resets":
            peer.reset()
        else:
            peer.writer.write_eof()
        await wait_until(lambda: door.work.cancelled == ["left"], "its code was cancelled")
        async with door.peer() as other:
            assert (await other.ask(door.call("echo", {"text": "a"}))).status == 200


async def test_a_full_queue_is_429(process: str, shell: str, tmp_path: Path) -> None:
    """With Retry-After; the calls that were taken are answered."""
    async with (
        running_door(process, shell, tmp_path, max_queue=1) as door,
        door.peer() as runs, door.peer() as waits, door.peer() as late,
    ):  # fmt: skip
        await runs.send(door.call("hold", {"label": "runs"}))
        await wait_until(lambda: door.work.begun, "it runs")
        await waits.send(door.call("hold", {"label": "waits"}))
        await wait_until(lambda: door.held() == 2, "the next one waits")
        full = await late.ask(door.call("hold", {"label": "late"}))
        assert (full.status, full.json["error"], full.json["code"]) == (
            429,
            "Queue is full",
            "queue_full",
        )
        assert int(full.headers["retry-after"]) >= 1
        door.work.let_go()
        assert await _results(runs, 1) == ["runs"]
        assert await _results(waits, 1) == ["waits"]


async def test_maintenance_of_the_worker(process: str, shell: str, tmp_path: Path) -> None:
    """A worker refuses with 503; a balancer keeps the call until there is a worker again."""
    async with running_door(process, shell, tmp_path) as door, door.peer() as peer:
        door.worker.engine.set_maintenance(True)
        await peer.send(door.call("echo", {"text": "a"}))
        if process == "worker":
            answer = await peer.answer()
            assert (answer.status, answer.json["code"]) == (503, "maintenance")
            return
        door.worker.engine.set_maintenance(False)
        assert await _results(peer, 1) == ["a"]


async def test_a_process_that_ends_answers_what_runs(
    process: str, shell: str, tmp_path: Path
) -> None:
    """Its callers get their answers, then their connections are closed; idle ones are closed too."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1, fast_lane=shell == "lane") as worker,
        running_balancer(tmp_path, worker.url, fast_lane=shell == "lane") as balancer,
    ):
        ending = worker if process == "worker" else balancer.balancer
        key = AUTH_KEY if process == "worker" else LB_KEY
        door = Door(ending.url, key, work, worker, lambda: work.running)
        async with door.peer() as caller, door.peer() as idle:
            await caller.send(door.call("hold", {"label": "last"}))
            await wait_until(lambda: work.begun, "it runs")
            drained = asyncio.create_task(ending.drain())
            await asyncio.sleep(0)
            work.let_go()
            await drained
            await ending.stop()
            answer = await caller.answer()
            assert (answer.status, answer.json["result"]) == (200, "last")
            assert await caller.rest() == b""
            assert await idle.rest() == b""
