"""Dead letters in Redis: the `DeadStore` of the shared store.

A letter is in the part of its task, and so is the task that a replay makes of it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from balancer.store.cursor import decode_cursor, encode_cursor
from balancer.store.ports import INLINE_INPUT_LIMIT, OutboxRow, StoredTask
from balancer.store.ports_dead import DeadCounts, DeadFilter, DeadLetter, Renewal
from balancer.store.redis.parts import PARTS, lane_name, part_of
from balancer.store.redis.rows import (
    SHOWN,
    WHOLE,
    WITH_RESULT,
    dead_webhook_of,
    micros,
    moment,
    outbox_row_of,
    record_of,
    record_value,
    stored_of,
)
from balancer.store.redis.tasks import ceiling
from balancer.store.redis.wire import Script
from shared.dead_letter import DeadKind
from shared.errors import Unavailable
from shared.task_state import TaskEvent, TaskStatus, after

if TYPE_CHECKING:
    from balancer.store.redis.known_parts import KnownParts
    from balancer.store.redis.reader import Reader, Row
    from balancer.store.redis.writer import Value, Writer
    from shared.ids import TaskId

LOOKED_AT = 1000  # letters that one script of a listing looks at

_LETTERS, _LETTER, _HOOKS = Script("letters"), Script("letter"), Script("hooks")


class RedisDead:
    """Letters in the parts of a store."""

    def __init__(self, writer: Writer, reader: Reader, parts: KnownParts) -> None:
        self._writer = writer
        self._reader = reader
        self._parts = parts

    async def list(
        self, chosen: DeadFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[DeadLetter], str | None]:
        """Return a page, newest first, and the cursor of the next one."""
        found = await self._found(chosen, "new", limit + 1, decode_cursor(cursor))
        page = found[:limit]
        following = encode_cursor(page[-1][0]) if len(found) > limit and page else None
        letters = [await self._shown(letter_id, SHOWN) for _, letter_id, _ in page]
        return [each for each in letters if each is not None], following

    async def get(self, letter_id: str) -> DeadLetter | None:
        """Return a letter with its task's result, or None."""
        return await self._shown(letter_id, WITH_RESULT)

    async def counts(self) -> DeadCounts:
        """Return how many there are."""
        totals = await self._reader.totals()
        return DeadCounts(totals.dead_tasks, totals.dead_webhooks, totals.quarantined)

    async def replay_task(self, letter_id: str, renewal: Renewal) -> StoredTask | None:
        """Put a new task with the same request in the place of a letter."""
        if part_of(letter_id) != part_of(renewal.task_id):
            raise Unavailable("Store cannot replay a task under an id of another part")
        old = await self._stored(letter_id)
        if old is None:
            return None
        record = replace(
            old.record, created_at=renewal.at, task_id=renewal.task_id, replay_of=old.task_id
        )
        lane = lane_name((record.group, record.contract, record.function))
        packed = record_value(record, _deadline(old, renewal.at))
        values = (renewal.task_id, renewal.order, repr(float(record.priority)), lane, packed)
        if not await self._done("replay", letter_id, *values):
            return None
        return await self._stored(renewal.task_id)

    async def replay_webhook(self, letter_id: str, at: datetime) -> OutboxRow | None:
        """Make a webhook pending again under its id."""
        if not await self._done("resend", letter_id, micros(at)):
            return None
        part = part_of(letter_id)
        [row] = cast(
            "list[Row | None]", (await self._reader.run(_HOOKS, {part: [letter_id]}))[part]
        )
        return None if row is None else outbox_row_of(letter_id, row)

    async def release(self, task_id: TaskId, at: datetime) -> StoredTask | None:
        """Put a quarantined task back among the unfinished."""
        old = await self._stored(task_id)
        if old is None:
            return None
        status = after(TaskStatus.QUARANTINED, TaskEvent.RELEASED).value
        packed = record_value(old.record, _deadline(old, at))
        if not await self._done("release", task_id, status, packed):
            return None
        return await self._stored(task_id)

    async def purge(self, chosen: DeadFilter, limit: int) -> DeadCounts:
        """Forget letters, oldest first."""
        numbers = dict.fromkeys(DeadKind, 0)
        for _, letter_id, kind in await self._found(chosen, "old", limit, None):
            quarantined = kind is DeadKind.QUARANTINE
            status = after(TaskStatus.QUARANTINED, TaskEvent.FAILED).value if quarantined else ""
            numbers[kind] += await self._done("purge", letter_id, kind.value, status)
        return DeadCounts(*numbers.values())

    async def _done(self, kind: str, letter_id: str, *values: Value) -> bool:
        """Make a write and tell whether the letter was there."""
        return await self._writer.write(kind, letter_id, *values) != "gone"

    async def _stored(self, task_id: str) -> StoredTask | None:
        """Return a task with its request; None when it has none any more."""
        rows = await self._reader.tasks([task_id], WHOLE, longest_input=INLINE_INPUT_LIMIT)
        row = rows.get(task_id)
        return None if row is None or row[WHOLE.index("req")] is None else stored_of(task_id, row)

    async def _shown(self, letter_id: str, fields: tuple[str, ...]) -> DeadLetter | None:
        part = part_of(letter_id)
        held = cast("Row", (await self._reader.run(_LETTER, {part: [letter_id]}))[part])
        if not held:
            return None
        kind, task_id, died_at, code = (cast("bytes", each).decode() for each in held[:4])
        row = (await self._reader.tasks([task_id], fields)).get(task_id)
        if row is None:
            return None
        webhook = None
        if kind == DeadKind.WEBHOOK and held[5] is not None:
            webhook = dead_webhook_of(*cast("tuple[bytes, bytes, bytes]", held[5:8]))
        return DeadLetter(
            letter_id=letter_id, kind=DeadKind(kind), died_at=moment(int(died_at)), code=code,
            task=record_of(task_id, row), webhook=webhook,
        )  # fmt: skip

    async def _found(
        self, chosen: DeadFilter, way: str, limit: int, below: int | None
    ) -> list[tuple[int, str, DeadKind]]:
        """Return (place, letter, kind) of the letters that are looked for, in their order."""
        parts = self._parts.used if chosen.letter_id is None else [part_of(chosen.letter_id)]
        start = {part: ceiling(part, below) if way == "new" else "-inf" for part in parts}
        found: list[tuple[int, str, DeadKind]] = []
        while start:
            asked = {
                part: (way, at, limit, *_wanted(chosen), LOOKED_AT) for part, at in start.items()
            }
            start = dict[int, str]()
            for part, answer in (await self._reader.run(_LETTERS, dict(asked))).items():
                reached, *flat = (each.decode() for each in cast("list[bytes]", answer))
                if reached:
                    start[part] = str(int(reached))
                for letter_id, kind, place in zip(flat[::6], flat[1::6], flat[5::6], strict=True):
                    if chosen.letter_id in (None, letter_id):
                        found.append((int(place) * PARTS + part, letter_id, DeadKind(kind)))
            found = sorted(found, reverse=way == "new")[:limit]
            if len(found) == limit:
                edge = found[-1][0] // PARTS
                start = {
                    part: at
                    for part, at in start.items()
                    if (int(at) > edge if way == "new" else int(at) < edge)
                }
        return found


def _wanted(chosen: DeadFilter) -> tuple[Value, ...]:
    kinds = "".join(f"{kind.value}," for kind in chosen.kinds)
    return (
        f",{kinds}" if kinds else "",
        chosen.group or "",
        chosen.function or "",
        chosen.code or "",
        "" if chosen.since is None else micros(chosen.since),
        "" if chosen.before is None else micros(chosen.before),
    )


def _deadline(stored: StoredTask, at: datetime) -> datetime | None:
    limit_s = stored.request.deadline_s
    return None if limit_s is None else at + timedelta(seconds=limit_s)
