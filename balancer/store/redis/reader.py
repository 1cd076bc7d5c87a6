"""The reading side: scripts over one part or all of them, on connections of their own.

A long listing delays no accept, and is cut into pieces, so that the server answers others between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from balancer.store.redis.parts import by_part
from balancer.store.redis.wire import Call, Script
from shared.errors import Unavailable

if TYPE_CHECKING:
    from balancer.store.redis.known_parts import KnownParts
    from balancer.store.redis.wire import Wire
    from balancer.store.redis.writer import Value

Row = Sequence[bytes | None]

ROWS_AT_ONCE = 200

_READ, _RANGE, _TOTALS = Script("read"), Script("range"), Script("totals")


class Totals(NamedTuple):
    """Numbers of a store.

    Attributes:
        unfinished: tasks.
        pending_bytes: of webhooks.
        named: tasks that their callers named by a key.
        ended: tasks that have, and are no dead letters.
        dead_tasks, dead_webhooks, quarantined: letters by kind.
    """

    unfinished: int = 0
    pending_bytes: int = 0
    named: int = 0
    ended: int = 0
    dead_tasks: int = 0
    dead_webhooks: int = 0
    quarantined: int = 0


class Reader:
    """Runs reading scripts.

    Args:
        wire: to the server.
        parts: what is known of the parts.
    """

    def __init__(self, wire: Wire, parts: KnownParts) -> None:
        self._wire = wire
        self._parts = parts
        self._closed = False

    async def run(self, script: Script, asked: dict[int, Sequence[Value]]) -> dict[int, object]:
        """Run a script in parts, each with its arguments, and return their answers.

        Raises:
            Unavailable: the store could not be read.
        """
        if self._closed:
            raise Unavailable("Store is closed")
        if not asked:
            return {}
        calls = [Call(script, self._parts.keys.part(part), asked[part]) for part in asked]
        answers = await self._wire.read(calls)
        return dict(zip(asked, answers, strict=True))

    async def everywhere(self, script: Script, *arguments: Value) -> dict[int, object]:
        """Run a script in every part that is used.

        Raises:
            Unavailable: the store could not be read.
        """
        return await self.run(script, dict.fromkeys(self._parts.used, arguments))

    async def tasks(
        self, ids: Sequence[str], fields: Sequence[str], *, longest_input: int = -1
    ) -> dict[str, Row]:
        """Return the fields of tasks, by id, without those that are not there.

        Raises:
            Unavailable: the store could not be read.
        """
        found: dict[str, Row] = {}
        for start in range(0, len(ids), ROWS_AT_ONCE):
            asked = by_part(ids[start : start + ROWS_AT_ONCE])
            head = (longest_input, len(fields), *fields)
            answers = await self.run(_READ, {part: (*head, *some) for part, some in asked.items()})
            for part, some in asked.items():
                rows = cast("list[Row | None]", answers[part])
                found.update((i, row) for i, row in zip(some, rows, strict=True) if row is not None)
        return found

    async def range(
        self, name: str, lowest: str, highest: str, limit: int
    ) -> list[tuple[int, str]]:
        """Return (score, member) of sorted sets, lowest first, up to a limit in each part.

        Raises:
            Unavailable: the store could not be read.
        """
        answers = await self.everywhere(_RANGE, name, lowest, highest, limit)
        found: list[tuple[int, str]] = []
        for answer in answers.values():
            flat = cast("list[bytes]", answer)
            found += (
                (int(float(s)), m.decode()) for m, s in zip(flat[::2], flat[1::2], strict=True)
            )
        return sorted(found)

    async def totals(self) -> Totals:
        """Return what there is in all parts.

        Raises:
            Unavailable: the store could not be read.
        """
        answers = cast("list[list[int]]", list((await self.everywhere(_TOTALS)).values()))
        return (
            Totals(*(sum(column) for column in zip(*answers, strict=True))) if answers else Totals()
        )

    async def close(self) -> None:
        """Refuse what comes after, and close the connections."""
        self._closed = True
        await self._wire.close()
