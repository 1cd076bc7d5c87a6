"""The one writer of this process: a task that sends what is buffered, many writes a round trip.

While one batch is on its way the next writes gather, so that under load many accepted tasks share one
round trip and one fsync of the server's log (group commit). Writes are applied in the order of the
calls. A batch has a number, and a part applies it once: when the connection breaks it is sent again.

A batch that failed is an outage: it and all that is buffered behind it fail, and what comes meanwhile
fails at once, until the server has taken a batch again. That batch takes back (`retract`) what was
accepted without anybody having been told so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from balancer.store.redis.parts import LAST_PART, part_of
from balancer.store.redis.wire import Call, Script, StoreOut
from shared.errors import Unavailable
from shared.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balancer.store.ports import Done
    from balancer.store.redis.known_parts import KnownParts
    from balancer.store.redis.wire import Wire

    Said = Callable[[str], None]

Value = str | bytes | int | float

MAX_BATCH = 500  # writes: a server that is busy with one batch answers nobody else
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_BUFFERED_BYTES = 256 * 1024 * 1024  # a server that hangs must not fill the memory
WRITE_OVERHEAD = 1024  # what a buffered write takes beside its bodies
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 0.5  # work goes on within a second of the server's return

_COMMIT = Script("commit")
_log = Log("store")


class Write(NamedTuple):
    """One buffered write.

    Attributes:
        kind: its name in `commit.lua`.
        key: the task or webhook that it changes; its first value.
        values: the others.
        size: bytes it takes in memory.
        done: told how it went.
        said: told what the script had to say, when it did.
    """

    kind: str
    key: str
    values: tuple[Value, ...]
    size: int
    done: Done | None
    said: Said | None


class Permission(Protocol):
    """Says whether this process may write now."""

    @property
    def refusal(self) -> str | None:
        """Return why it may not, or None."""
        ...


class Writer:
    """Buffers writes, commits them in groups, and reports each.

    Args:
        wire: to the server; used by nobody else for writes.
        parts: what is known of the parts.
        permission: asked before each batch.
        name: of this writer; no other ever has it.
        owner: whose tasks run here.
        shown: the URL as it may be shown.
    """

    def __init__(
        self, wire: Wire, parts: KnownParts, permission: Permission, *, name: str, owner: str, shown: str,
    ) -> None:  # fmt: skip
        self._wire = wire
        self._parts = parts
        self._permission = permission
        self._name = name
        self._owner = owner
        self._shown = shown
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Write] = deque()
        self._buffered = 0
        self._number = 0
        self._woken = asyncio.Event()
        self._closed = False
        self._healthy = True
        self._doubtful: dict[str, str] = {}  # accepted or not, by which batch: nobody was told
        self._task = self._loop.create_task(self._run(), name="store-writer")

    @property
    def healthy(self) -> bool:
        """Tell whether the last commit went through."""
        return self._healthy

    def put(
        self, kind: str, key: str, *values: Value, size: int = 0, done: Done | None = None,
        said: Said | None = None, refusable: bool = False,
    ) -> None:  # fmt: skip
        """Buffer a write.

        Args:
            kind: its name in `commit.lua`.
            key: the task or webhook that it changes.
            values: what the script needs beside.
            size: bytes of its bodies.
            done: told on the loop how it went.
            said: told what the script had to say.
            refusable: refuse it when too much is buffered (new work; the rest is bounded by what was
                accepted).
        """
        size += WRITE_OVERHEAD
        if self._closed:
            self._refuse(done, "Store is closed")
        elif refusable and self._buffered + size > MAX_BUFFERED_BYTES:
            self._refuse(done, "Store is too far behind")
        else:
            self._buffered += size
            self._waiting.append(Write(kind, key, values, size, done, said))
            self._woken.set()

    async def write(self, kind: str, key: str, *values: Value) -> str:
        """Buffer a write, wait until it is durable, and return what the script had to say.

        Raises:
            Unavailable: it did not go through.
        """
        settled: asyncio.Future[None] = self._loop.create_future()
        told: list[str] = []

        def done(error: Unavailable | None) -> None:
            if settled.done():
                return  # the waiting task was cancelled; the write stays
            if error is None:
                settled.set_result(None)
            else:
                settled.set_exception(error)

        self.put(kind, key, *values, done=done, said=told.append)
        await settled
        return "".join(told)

    async def close(self) -> None:
        """Commit what is buffered and end; writes after this are refused."""
        self._closed = True
        self._woken.set()
        await self._task

    def _refuse(self, done: Done | None, reason: str) -> None:
        if done is not None:
            self._loop.call_soon(done, Unavailable(reason))

    async def _run(self) -> None:
        while self._waiting or not self._closed:
            if not self._waiting:
                self._woken.clear()
                await self._woken.wait()
                continue
            batch = self._next_batch()
            try:
                self._report(batch, None, await self._commit(batch))
            except (
                Exception
            ) as exc:  # whatever it is: the task must live and each write be answered
                self._healthy = False
                await self._outage(batch, exc)

    def _next_batch(self) -> list[Write]:
        batch: list[Write] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            write = self._waiting.popleft()
            batch.append(write)
            size += write.size
        return batch

    async def _commit(self, batch: Sequence[Write]) -> dict[int, str]:
        """Commit a batch; return what the scripts had to say, by the places of the writes.

        Raises:
            Unavailable: some of it may not have been applied.
        """
        by_part: dict[int, list[int]] = {}
        for place, write in enumerate(batch):
            by_part.setdefault(part_of(write.key), []).append(place)
        self._number += 1
        calls = [
            Call(_COMMIT, self._parts.keys.part(part), self._arguments(batch, places))
            for part, places in by_part.items()
        ]
        try:
            answers = await self._sent(by_part, calls)
        except StoreOut as out:
            if not out.lost:
                raise
            # The connection broke: an idle one that was cut, or a failover. The number makes it safe.
            await self._wire.renew()
            answers = await self._sent(by_part, calls)
        said: dict[int, str] = {}
        for places, answer in zip(by_part.values(), answers, strict=True):
            flat = cast("list[int | bytes]", answer)
            for place, text in zip(flat[::2], flat[1::2], strict=True):
                said[places[int(place)]] = bytes(cast("bytes", text)).decode("utf-8", "replace")
        return said

    async def _sent(self, parts: dict[int, list[int]], calls: Sequence[Call]) -> list[object]:
        refusal = self._permission.refusal
        if refusal is not None:
            raise Unavailable(refusal)
        await self._parts.ensure(parts)
        return await self._wire.run(calls)

    def _arguments(self, batch: Sequence[Write], places: Sequence[int]) -> list[Value]:
        arguments: list[Value] = [self._name, self._number, self._owner]
        for place in places:
            write = batch[place]
            arguments += (write.kind, 1 + len(write.values), write.key, *write.values)
        return arguments

    # ---- outages

    async def _outage(self, batch: list[Write], cause: Exception) -> None:
        error = Unavailable(str(cause) or type(cause).__name__)
        _log.error(f"Store {self._shown} is out: {error}")
        self._doubt(batch)
        while batch:
            self._report(batch, error, {})
            batch = self._next_batch()
        wait_s = FIRST_RETRY_S
        while not self._closed:
            await self._refuse_for(wait_s, error)
            if await self._works():
                self._healthy = True
                _log.warning(f"Store {self._shown} is back")
                return
            wait_s = min(wait_s * 2, LONGEST_RETRY_S)
        await self._refuse_for(0, error)

    def _doubt(self, batch: Sequence[Write]) -> None:
        by = f"{self._number}@{self._name}"
        self._doubtful.update((write.key, by) for write in batch if write.kind == "accept")

    async def _refuse_for(self, wait_s: float, error: Unavailable) -> None:
        until_s = self._loop.time() + wait_s
        while True:
            while batch := self._next_batch():
                self._report(batch, error, {})
            if self._closed or self._loop.time() >= until_s:
                return
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until_s):
                    await self._woken.wait()

    async def _works(self) -> bool:
        """Tell whether the server takes a batch again: one that takes back what nobody was told of."""
        doubtful = self._doubtful.items()
        retracted = [Write("retract", key, (by,), 0, None, None) for key, by in doubtful]
        places = {*self._parts.used, LAST_PART}
        probes = [Write("probe", f".{part:02x}", (), 0, None, None) for part in sorted(places)]
        try:
            await self._wire.renew()
            self._parts.forget()  # the server may have been emptied
            await self._commit([*probes, *retracted])
        except Exception as exc:
            _log.debug(f"Store {self._shown} is still out: {exc}")
            return False
        self._doubtful.clear()
        return True

    def _report(
        self, batch: Sequence[Write], error: Unavailable | None, said: dict[int, str]
    ) -> None:
        for place, write in enumerate(batch):
            self._buffered -= write.size
            text = said.get(place, "")
            failed = error
            if text.startswith("error "):
                _log.error(f"Store {self._shown} refused a write of kind {write.kind}: {text}")
                failed = Unavailable(f"Store cannot hold a write: {text[6:200]}")
            try:
                if write.said is not None and failed is None:
                    write.said(text)
                if write.done is not None:
                    write.done(failed)
            except Exception as exc:  # one caller's bug must not leave the others waiting
                self._loop.call_exception_handler(
                    {"message": "store: done() raised", "exception": exc}
                )
