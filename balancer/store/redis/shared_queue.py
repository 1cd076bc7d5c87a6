"""Durable tasks that several balancers share, in Redis: the `SharedQueue` of the shared store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from balancer.store.ports import INLINE_INPUT_LIMIT, OutboxRow
from balancer.store.ports_shared import CLEAN_BEATS, DEAD_AFTER, HEARTBEAT_S, Beat, Claimed
from balancer.store.redis.parts import part_of_pool
from balancer.store.redis.rows import WHOLE, stored_of
from balancer.store.redis.tasks import end_values
from balancer.store.redis.wire import Call, Script
from shared.errors import Unavailable
from shared.ids import Token

if TYPE_CHECKING:
    from balancer.store.redis.known_parts import KnownParts
    from balancer.store.redis.reader import Reader
    from balancer.store.redis.wire import Wire
    from balancer.store.redis.writer import Writer
    from shared.ids import PoolKey, TaskId
    from shared.task import AttemptRecord, Outcome

_MEMBERS, _CLAIM, _TAKEOVER = Script("members"), Script("claim"), Script("takeover")


class RedisSharedQueue:
    """Tasks and balancers of a namespace.

    Args:
        wire: to the server; what is sent here may be repeated.
        writer: of this process.
        reader: of this process.
        parts: what is known of the parts.
        owner: this balancer.
        heartbeat_s: how often it beats.
    """

    def __init__(
        self, wire: Wire, writer: Writer, reader: Reader, parts: KnownParts, *, owner: str,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:  # fmt: skip
        self._wire = wire
        self._writer = writer
        self._reader = reader
        self._parts = parts
        self._owner = owner
        self._dead_ms = int(heartbeat_s * 1000) * DEAD_AFTER
        self._clean = 0

    async def heartbeat(self) -> Beat:
        """Say that this balancer lives."""
        try:
            await self._parts.refresh()
            answer = await self._members("beat", self._owner)
        except Unavailable:
            self._clean = -1  # the next one is the first of them all
            raise
        gap_ms, *dead = cast("Sequence[int | bytes]", answer)
        late = int(gap_ms) > self._dead_ms
        self._clean = 0 if late or int(gap_ms) < 0 else self._clean + 1
        if self._clean < CLEAN_BEATS:
            return Beat(late=late)
        return Beat(dead=tuple(bytes(cast("bytes", each)).decode() for each in dead))

    async def leave(self) -> None:
        """Say that it stops in good order."""
        await self._members("leave", self._owner)

    async def claim(
        self, request_id: str, pool: PoolKey, room: Mapping[str, int], total: int
    ) -> list[Claimed]:
        """Own the next waiting tasks of a pool."""
        part = part_of_pool(pool)
        lanes = [value for lane in room.items() for value in lane]
        prefix = f"{pool[0]}\n{pool[1]}\n"
        arguments = [request_id, self._owner, total, prefix, *lanes]
        [answer] = await self._wire.read([Call(_CLAIM, self._parts.keys.part(part), arguments)])
        return await self._claimed([answer])

    async def give_back(self, task_id: TaskId, token: Token) -> bool:
        """Put a task that was claimed back in its own place."""
        return await self._writer.write("give_back", task_id, token) != "superseded"

    async def answer(
        self,
        task_id: TaskId,
        token: Token,
        outcome: Outcome,
        attempt: AttemptRecord | None,
        finished_at: datetime,
        outbox: OutboxRow | None,
    ) -> bool:
        """Commit the end of a task and its webhook."""
        values = end_values(outcome, attempt, finished_at, outbox)
        return await self._writer.write("answer", task_id, token, *values) != "superseded"

    async def takeover(self, request_id: str, dead: str, limit: int) -> list[Claimed]:
        """Own tasks of a balancer that is dead."""
        await self._parts.refresh()
        taken: list[Claimed] = []
        for part in self._parts.used:
            arguments = [request_id, self._owner, dead, limit - len(taken)]
            call = Call(_TAKEOVER, self._parts.keys.part(part), arguments)
            taken += await self._claimed(await self._wire.read([call]))
            if len(taken) >= limit:
                return taken
        if not taken:
            await self._members("forget", dead)
        return taken

    async def _members(self, what: str, who: str) -> object:
        call = Call(_MEMBERS, self._parts.keys.meta("members"), [what, who, self._dead_ms])
        [answer] = await self._wire.read([call])
        return answer

    async def _claimed(self, answers: Sequence[object]) -> list[Claimed]:
        flat = [each.decode() for answer in answers for each in cast("list[bytes]", answer)]
        tokens = dict(zip(flat[::2], flat[1::2], strict=True))
        rows = await self._reader.tasks(list(tokens), WHOLE, longest_input=INLINE_INPUT_LIMIT)
        return [
            Claimed(task=stored_of(i, rows[i]), token=Token(token))
            for i, token in tokens.items()
            if i in rows and rows[i][_REQUEST] is not None
        ]


_REQUEST = WHOLE.index("req")
