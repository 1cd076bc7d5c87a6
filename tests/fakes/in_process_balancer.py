"""A whole balancer in the test's own process, asked over real sockets."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import aiohttp
import msgspec

from balancer.app import Balancer
from balancer.config import BalancerSettings
from balancer.fleet.names import Resolve, addresses_of
from shared.log_ring import LogRing
from shared.system import SystemClock
from tests.fakes.in_process_worker import AUTH_KEY, LB_KEY
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from shared.clock import Clock
    from tests.fakes.tcp_proxy import TcpProxy

AS_CLIENT = {"Authorization": LB_KEY}

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> JsonObject:
        """Return the body as a JSON object."""
        return cast("JsonObject", json.loads(self.body))

    @property
    def content(self) -> JsonObject:
        """Return the body as an object, in whichever of the two forms it came."""
        if self.headers["Content-Type"] == "application/msgpack":
            return cast("JsonObject", msgspec.msgpack.decode(self.body))
        return self.json

    @property
    def code(self) -> object:
        """Return the code of a failure."""
        return self.content.get("code")


class RunningBalancer:
    """A balancer and a client for it.

    Attributes:
        balancer: the process's composition root.
        session: of the client.
        file: its workers.json.
    """

    def __init__(self, balancer: Balancer, session: aiohttp.ClientSession, file: Path) -> None:
        self.balancer = balancer
        self.session = session
        self.file = file

    @property
    def url(self) -> str:
        """Return where it listens."""
        return self.balancer.url

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] = AS_CLIENT,
        data: bytes | None = None, chunked: bool = False,
    ) -> Reply:  # fmt: skip
        """Send a request and read its answer.

        Args:
            method, path, headers, data: the request.
            chunked: send the body in chunks, which the fast lane leaves to the other shell.
        """
        body = _in_chunks(data) if chunked and data is not None else data
        asked = self.session.request(method, f"{self.url}{path}", headers=headers, data=body)
        async with asked as response:
            return Reply(response.status, response.headers, await response.read())

    async def task(
        self, function: str | None, given: Mapping[str, object] | None = None, /, *,
        headers: Mapping[str, str] | None = None, chunked: bool = False,
        more: Mapping[str, object] | None = None, **members: object,
    ) -> Reply:  # fmt: skip
        """Post a task of contract 1 of the group `default`, unless `members` or `more` say otherwise.

        Members that are None are left out.
        """
        body = task_body(function, given, **members, **(more or {}))
        return await self.ask(
            "POST", "/task", headers={**AS_CLIENT, **(headers or {})}, data=body, chunked=chunked
        )

    def stream(
        self,
        function: str,
        given: Mapping[str, object] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> aiohttp.client._RequestContextManager:  # pyright: ignore[reportPrivateUsage] the library names it nowhere else
        """Post a stream; the answer is read by the caller."""
        body = task_body(function, given, mode="stream", **members)
        return self.session.post(
            f"{self.url}/task", headers={**AS_CLIENT, **(headers or {})}, data=body
        )

    async def shown(self, task_id: object) -> JsonObject:
        """Return a task as `GET /tasks/{id}` shows it."""
        return (await self.ask("GET", f"/tasks/{task_id}")).json

    async def ended(self, task_id: object) -> JsonObject:
        """Wait until a task has ended and return it."""

        async def look() -> JsonObject | None:
            shown = await self.shown(task_id)
            return shown if shown.get("finished_at") else None

        return cast("JsonObject", await wait_until(look, f"task {task_id} has ended"))

    async def workers(self) -> list[JsonObject]:
        """Return the workers as `GET /workers` shows them."""
        return cast("list[JsonObject]", (await self.ask("GET", "/workers")).json["workers"])

    def list_workers(self, *entries: object) -> None:
        """Write workers.json."""
        write_workers(self.file, *entries)

    async def linked(self, count: int = 1) -> None:
        """Wait until so many workers are ready."""
        fleet = self.balancer.fleet
        await wait_until(
            lambda: sum(worker.status == "ready" for worker in fleet.workers()) >= count,
            f"{count} worker(s) are ready",
        )


def task_body(
    function: object, given: Mapping[str, object] | None = None, /, **members: object
) -> bytes:
    """Return the JSON of a task; members that are None are left out."""
    body: JsonObject = {"group": "default", "contract": 1, "function": function, "input": given}
    body |= members
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


def write_workers(file: Path, *entries: object) -> None:
    """Put a workers.json in place in one step, as careful operators do."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(list(entries)))
    draft.rename(file)


def client_session() -> aiohttp.ClientSession:
    """Return a session of a patient client."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))


async def _in_chunks(data: bytes) -> AsyncIterator[bytes]:
    half = len(data) // 2
    yield data[:half]
    yield data[half:]


def balancer_settings(directory: Path, **settings: object) -> BalancerSettings:
    """Return settings of a small balancer on loopback, with its files in a directory."""
    given = {
        "port": 0,
        "lb_auth_key": LB_KEY,
        "auth_key": AUTH_KEY,
        "store_url": "memory://",
        "workers_file": directory / "workers.json",
        "worker_discovery_interval": 50,
        **settings,
    }
    # No .env of whoever runs the tests; the values are checked by pydantic itself.
    return BalancerSettings(_env_file=None, **given)  # pyright: ignore[reportCallIssue]


async def start_balancer(
    directory: Path, *entries: object, clock: Clock | None = None, ring: LogRing | None = None,
    resolve: Resolve = addresses_of, **settings: object,
) -> Balancer:  # fmt: skip
    """Start a balancer over these workers; the caller stops it.

    Args:
        directory: where its files are.
        entries: of workers.json.
        clock: the machine's unless another one is given.
        ring: the last lines of its log.
        resolve: asks for the addresses of names.
        settings: over the defaults.
    """
    values = balancer_settings(directory, **settings)
    write_workers(values.workers_file, *entries)
    clock = clock or SystemClock()
    balancer = Balancer(values, ring or LogRing(clock), clock, resolve)
    await balancer.start()
    return balancer


@asynccontextmanager
async def running_balancer(
    directory: Path, *entries: object, linked: int | None = None, clock: Clock | None = None,
    ring: LogRing | None = None, resolve: Resolve = addresses_of, **settings: object,
) -> AsyncGenerator[RunningBalancer]:  # fmt: skip
    """Run a balancer while the context lasts.

    Args:
        directory: where its files are.
        entries: of workers.json.
        linked: how many workers must be ready before the test goes on; None for all of them.
        clock: the machine's unless another one is given.
        ring: the last lines of its log.
        resolve: asks for the addresses of names.
        settings: over the defaults.
    """
    balancer = await start_balancer(
        directory, *entries, clock=clock, ring=ring, resolve=resolve, **settings
    )
    try:
        async with client_session() as session:
            running = RunningBalancer(balancer, session, balancer.settings.workers_file)
            await running.linked(len(entries) if linked is None else linked)
            yield running
    finally:
        await balancer.stop()


async def crash(balancer: Balancer, database: Path, network: TcpProxy) -> Path:
    """End a balancer as `kill -9` does, as far as anybody else can see.

    Its links break without a word, and what was on the disk at that moment is all that is left: a
    copy of it, because the rest of this process goes on and would tidy up.

    Args:
        balancer: whose links go through `network` and whose store is `database`.
        database: the SQLite file.
        network: is cut; the caller heals it.

    Returns:
        the copy.
    """
    network.cut()
    left = database.parent / "left"
    left.mkdir()
    for file in database.parent.glob(f"{database.name}*"):
        shutil.copy(file, left)
    await balancer.failed()
    return left / database.name
