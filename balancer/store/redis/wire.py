"""The connection to Redis: scripts in, answers out, every error of it `Unavailable`.

Scripts are sent by their digest and, to a server that does not know one (it was restarted, or another
one took over), once more in full. The client's own retries are off: whether something may be repeated
is decided where it is known what it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as LateAnswer

from shared.errors import Unavailable

if TYPE_CHECKING:
    from balancer.store.redis.address import Address

CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 5.0  # an fsync on a busy disk may take a second or two
MAX_CONNECTIONS = 16  # to one server; readers wait for nobody

# What says that a new connection would not do. The others are of connections that broke; the client of a
# cluster has many words for that.
_ANSWERS = (
    ResponseError, RedisClusterException, BusyLoadingError, AuthenticationError, MaxConnectionsError,
    LateAnswer, TimeoutError,
)  # fmt: skip
_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError, asyncio.IncompleteReadError)


class Script:
    """A Lua script of this package.

    Args:
        name: of the file in `lua/`.
    """

    def __init__(self, name: str) -> None:
        self.source = files("balancer.store.redis").joinpath("lua", f"{name}.lua").read_bytes()
        self.digest = sha1(self.source, usedforsecurity=False).hexdigest()


class Call(NamedTuple):
    """A script, the key that says where it runs, and its arguments."""

    script: Script
    key: str
    arguments: Sequence[str | bytes | int | float]


class StoreOut(Unavailable):
    """Redis did not do what it was asked.

    Attributes:
        lost: the connection broke: a new one may do, but what was asked may have been done already.
    """

    def __init__(self, message: str, *, lost: bool) -> None:
        super().__init__(message)
        self.lost = lost


class Pipeline(Protocol):
    """Commands that are sent together."""

    def execute_command(self, *arguments: object) -> object:
        """Add a command."""
        ...

    async def execute(self, raise_on_error: bool) -> list[object]:
        """Send them and return their answers and errors."""
        ...


class Client(Protocol):
    """What is used of the clients of redis-py."""

    def pipeline(self, transaction: bool) -> Pipeline:
        """Return an empty pipeline."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class _Masters(Protocol):
    def master_for(self, service_name: str) -> Client: ...


class _Line:
    """Connections that are used together, and closed when nobody uses them any more."""

    def __init__(self, address: Address) -> None:
        self.clients = connect(address)
        self.users = 0
        # The client of a cluster breaks what others have on the way when it looks for the nodes anew.
        self.turn = asyncio.Semaphore(1 if address.kind == "cluster" else MAX_CONNECTIONS)
        self._retired = False

    async def retire(self) -> None:
        """Close it, now or with the end of its last use."""
        self._retired = True
        await self.end()

    async def end(self) -> None:
        """Close it when it is retired and not used."""
        if not self._retired or self.users:
            return
        clients, self.clients = self.clients, []
        for client in clients:
            with suppress(*_ERRORS):  # it may be gone already
                await client.aclose()


class Wire:
    """Runs scripts and commands.

    Args:
        address: of the store.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._line = _Line(address)

    async def run(self, calls: Sequence[Call]) -> list[object]:
        """Run scripts in one round trip and return their answers.

        Raises:
            StoreOut: one of them did not run, or nobody knows.
        """
        answers = await self._send(
            [("EVALSHA", c.script.digest, 1, c.key, *c.arguments) for c in calls]
        )
        unknown = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = [calls[n] for n in unknown]
            full = await self._send(
                [("EVAL", c.script.source, 1, c.key, *c.arguments) for c in again]
            )
            for n, answer in zip(unknown, full, strict=True):
                answers[n] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise self._out(answer) from answer
        return answers

    async def read(self, calls: Sequence[Call]) -> list[object]:
        """Run scripts that only read: once more on a new connection when theirs breaks.

        Raises:
            StoreOut: they did not run.
        """
        line = self._line
        try:
            return await self.run(calls)
        except StoreOut as out:
            if not out.lost:
                raise
        if line is self._line:  # nobody else has renewed it meanwhile
            await self.renew()
        return await self.run(calls)

    async def command(self, *arguments: str | bytes | int) -> object:
        """Send one command and return its answer.

        Raises:
            StoreOut: it failed.
        """
        [answer] = await self._send([arguments])
        if isinstance(answer, Exception):
            raise self._out(answer) from answer
        return answer

    async def renew(self) -> None:
        """Begin with new connections, which look for the server anew; the old ones end with their use."""
        line, self._line = self._line, _Line(self._address)
        await line.retire()

    async def close(self) -> None:
        """Close every connection."""
        await self._line.retire()

    async def _send(self, commands: Sequence[Sequence[object]]) -> list[object]:
        line = self._line
        if not line.clients:
            raise StoreOut("Store is closed", lost=False)
        line.users += 1
        try:
            async with line.turn:
                pipeline = line.clients[0].pipeline(transaction=False)
                for command in commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute(raise_on_error=False)
        except _ERRORS as exc:
            raise self._out(exc) from exc
        finally:
            line.users -= 1
            await line.end()

    def _out(self, cause: BaseException) -> StoreOut:
        return outage(cause, self._address.password)


def outage(cause: BaseException, password: str | None) -> StoreOut:
    """Return what an error of the client, or of the server, means to us."""
    text = " ".join(str(cause).split()) or type(cause).__name__
    if password:
        text = text.replace(password, "[redacted]")
    lost = not isinstance(cause, _ANSWERS)
    return StoreOut(f"Store is unavailable: {text}", lost=lost)


def connect(address: Address) -> list[Client]:
    """Return a client, and those that it asks its way; they connect when they are used."""
    options: dict[str, Any] = {
        "socket_timeout": ANSWER_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "protocol": 2,  # answers of one shape from every server
        "retry": Retry(NoBackoff(), 0),
    }
    if address.tls:
        options |= {"ssl": True, "ssl_ca_certs": address.ca}
    asked = dict(options)  # of a Sentinel, which has passwords of its own
    options |= {
        "username": address.user,
        "password": address.password,
        "max_connections": MAX_CONNECTIONS,
    }
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return [cast("Client", RedisCluster(startup_nodes=nodes, **options))]
    options["db"] = address.db
    if address.kind == "sentinel":
        sentinel = Sentinel(list(address.hosts), sentinel_kwargs=asked, **options)
        master = cast("_Masters", sentinel).master_for(address.service)
        return [master, *cast("list[Client]", sentinel.sentinels)]
    if address.path:
        return [cast("Client", Redis(unix_socket_path=address.path, **options))]
    host, port = address.hosts[0]
    return [cast("Client", Redis(host=host, port=port, **options))]
