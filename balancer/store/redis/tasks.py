"""Durable tasks in Redis: the `TaskStore` of the shared store."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

from balancer.store.cursor import decode_cursor, encode_cursor
from balancer.store.ports import INLINE_INPUT_LIMIT, Done, OutboxRow, StoredTask, TaskFilter
from balancer.store.ports_once import KeyTaken
from balancer.store.redis.once import claim_values
from balancer.store.redis.parts import PARTS, part_of
from balancer.store.redis.rows import (
    SHOWN,
    WHOLE,
    WITH_RESULT,
    attempt_value,
    failure_value,
    hook_values,
    micros,
    micros_or_empty,
    record_of,
    stored_of,
    task_values,
)
from balancer.store.redis.wire import Script
from shared.dead_letter import dead_kind
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from balancer.store.redis.known_parts import KnownParts
    from balancer.store.redis.reader import Reader
    from balancer.store.redis.writer import Value, Writer
    from shared.errors import Unavailable
    from shared.ids import TaskId
    from shared.task import AttemptRecord, Outcome, TaskRecord

LOOKED_AT = 1000  # tasks that one script of a narrowed listing looks at: about a millisecond
_ANY_SIZE = 1 << 40

_SCAN = Script("scan")


class RedisTasks:
    """Tasks in the parts of a store."""

    def __init__(self, writer: Writer, reader: Reader, parts: KnownParts) -> None:
        self._writer = writer
        self._reader = reader
        self._parts = parts

    def accept(self, task: StoredTask, done: Done) -> None:
        """Keep a new task, and its key."""
        size = len(task.request.input) + len(task.record.metadata or b"")
        values = (*task_values(task), *claim_values(task.once, task.created_at))
        said: list[str] = []

        def settled(error: Unavailable | None) -> None:
            done(KeyTaken() if error is None and said == ["taken"] else error)

        self._writer.put(
            "accept", task.task_id, *values, size=size, refusable=True,
            done=done if task.once is None else settled, said=said.append,
        )  # fmt: skip

    def started(self, task_id: TaskId, attempt: AttemptRecord) -> None:
        """Note that an attempt began."""
        self._writer.put("started", task_id, attempt_value(attempt))

    def requeued(
        self,
        task_id: TaskId,
        attempt: AttemptRecord | None,
        *,
        deaths: int,
        spent: int,
        due_at: datetime | None,
    ) -> None:
        """Note that an attempt ended without ending the task."""
        due = micros_or_empty(due_at)
        self._writer.put("requeued", task_id, attempt_value(attempt), deaths, spent, due)

    def finish(
        self,
        task_id: TaskId,
        outcome: Outcome,
        attempt: AttemptRecord | None,
        finished_at: datetime,
        outbox: OutboxRow | None,
        done: Done,
    ) -> None:
        """Commit the end of a task and its outbox row in one transaction."""
        values = end_values(outcome, attempt, finished_at, outbox)
        self._writer.put("finish", task_id, *values, size=end_size(outcome, outbox), done=done)

    async def get(self, task_id: TaskId) -> TaskRecord | None:
        """Return a task with its webhook state, or None."""
        row = (await self._reader.tasks([task_id], WITH_RESULT)).get(task_id)
        return None if row is None else record_of(task_id, row)

    async def list(
        self, chosen: TaskFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[TaskRecord], str | None]:
        """Return a page, newest first, and the cursor of the next one."""
        found = await self._found(chosen, limit + 1, decode_cursor(cursor))
        page = found[:limit]
        following = encode_cursor(page[-1][0]) if len(found) > limit and page else None
        rows = await self._reader.tasks([task_id for _, task_id in page], SHOWN)
        return [record_of(i, rows[i]) for _, i in page if i in rows], following

    async def input(self, task_id: TaskId) -> bytes | None:
        """Return the input of a task that may still run."""
        found = await self._reader.tasks([task_id], ("st", "fin"), longest_input=_ANY_SIZE)
        status, finished_at, given, *_ = found.get(task_id, (None, None, None))
        # A dead letter has its input, too, but it is run again as another task.
        over = finished_at is not None and status != TaskStatus.QUARANTINED.value.encode()
        return None if over else given

    async def recover(self, *, after_order: int, limit: int) -> list[StoredTask]:
        """Return unfinished tasks by growing order, a page at a time."""
        found = await self._reader.range("open", f"({after_order}", "+inf", limit)
        if not found:
            return []
        last = found[:limit][-1][0]
        ties = await self._reader.range("open", str(last), str(last), -1)
        ids = list(dict.fromkeys(i for order, i in (*found, *ties) if order <= last))
        rows = await self._reader.tasks(ids, WHOLE, longest_input=INLINE_INPUT_LIMIT)
        # One that ended meanwhile is over.
        left = [i for i in ids if i in rows and rows[i][_REQUEST] and rows[i][_FINISHED] is None]
        left.sort(key=lambda i: (int(rows[i][_ORDER] or 0), int(rows[i][_PLACE] or 0), part_of(i)))
        return [stored_of(i, rows[i]) for i in left]

    async def count(self) -> int:
        """Return the number of unfinished tasks."""
        return (await self._reader.totals()).unfinished

    async def ended(self) -> int:
        """Return the number of ended tasks that are no dead letters."""
        return (await self._reader.totals()).ended

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget tasks that finished before a moment and that nothing else rests on."""
        old = (await self._reader.range("ended", "-inf", f"({micros(before)}", limit))[:limit]
        for _, task_id in old[:-1]:
            self._writer.put("forget", task_id)
        if old:  # the last: they are applied in order
            await self._writer.write("forget", old[-1][1])
        return len(old)

    async def _found(
        self, chosen: TaskFilter, limit: int, below: int | None
    ) -> list[tuple[int, str]]:
        """Return (place, id) of the newest tasks that are looked for."""
        ceilings = {part: ceiling(part, below) for part in self._parts.used}
        wanted = (chosen.status or "", chosen.group or "", chosen.function or "", LOOKED_AT)
        found: list[tuple[int, str]] = []
        while ceilings:
            asked: dict[int, tuple[Value, ...]] = {
                part: (ceiling, limit, *wanted) for part, ceiling in ceilings.items()
            }
            ceilings = dict[int, str]()
            for part, answer in (await self._reader.run(_SCAN, dict(asked))).items():
                reached, *flat = cast("list[bytes]", answer)
                for task_id, place in zip(flat[::2], flat[1::2], strict=True):
                    found.append((int(float(place)) * PARTS + part, task_id.decode()))
                if reached:
                    ceilings[part] = str(int(float(reached)))
            found = sorted(found, reverse=True)[:limit]
            if len(found) == limit:  # nothing older than the last of them is wanted
                lowest = found[-1][0] // PARTS
                ceilings = {part: at for part, at in ceilings.items() if int(at) > lowest}
        return found


_REQUEST = WHOLE.index("req")
_FINISHED = WHOLE.index("fin")
_ORDER = WHOLE.index("ord")
_PLACE = WHOLE.index("plc")


def ceiling(part: int, below: int | None) -> str:
    """Return below which place of a part the tasks are that are below a place of the listing."""
    return "+inf" if below is None else str(-((part - below) // PARTS))


def end_values(
    outcome: Outcome, attempt: AttemptRecord | None, finished_at: datetime, outbox: OutboxRow | None
) -> tuple[Value, ...]:
    """Return what `finish` needs beside the id."""
    grave = dead_kind(outcome.status)
    return (
        outcome.status.value,
        outcome.result or b"",
        failure_value(outcome.failure),
        outcome.worker or "",
        outcome.attempts,
        micros(finished_at),
        attempt_value(attempt),
        "" if grave is None else grave.value,
        outcome.status.value if outcome.failure is None else outcome.failure.code,
        *hook_values(outbox),
    )


def end_size(outcome: Outcome, outbox: OutboxRow | None) -> int:
    """Return the bytes that an end takes while it is buffered."""
    return len(outcome.result or b"") + (0 if outbox is None else len(outbox.body))
