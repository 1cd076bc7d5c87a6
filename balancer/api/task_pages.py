"""Pages of `GET /tasks`: tasks in memory and in the store, merged newest first.

A page's cursor names where each of the two was left, so tasks that arrive between two pages neither
repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, cast

from balancer.store.ports import TaskFilter
from shared.errors import CallerError, failure
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.task import TaskRecord

PAGE = 50
LARGEST_PAGE = 1000
MAX_CURSOR = 1024  # characters


class TaskLists(Protocol):
    """Where tasks are listed from; `balancer.api.views.TaskViews` is the real one."""

    def remembered(
        self, chosen: TaskFilter, below: tuple[datetime, str] | None, limit: int
    ) -> list[TaskRecord]:
        """Return sync and stream tasks in memory that are older than `below`, newest first."""
        ...

    async def stored(
        self, chosen: TaskFilter, limit: int, cursor: str | None
    ) -> tuple[list[TaskRecord], str | None]:
        """Return a page of durable tasks, newest first, and the cursor of the next one."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a listing was left.

    Attributes:
        memory: (created_at, id) of the last task shown from memory; None for none yet.
        store: cursor of the store; None for its beginning.
        stored_left: the store has more.
    """

    memory: tuple[datetime, str] | None = None
    store: str | None = None
    stored_left: bool = True

    def encode(self) -> str:
        """Return the opaque form."""
        memory = self.memory and (self.memory[0].isoformat(timespec="microseconds"), self.memory[1])
        text = json.dumps([memory, self.store, self.stored_left])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, cursor: str) -> Place:
        """Read the opaque form.

        Raises:
            CallerError: it is no cursor of ours.
        """
        try:
            text = base64.b64decode(
                cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
            )
            told, store, left = cast("tuple[object, object, object]", json.loads(text))
            memory = _pair(told)
        except (binascii.Error, ValueError, TypeError):
            raise _invalid("cursor", "the `next` of the page before") from None
        if not isinstance(left, bool) or not (store is None or isinstance(store, str)):
            raise _invalid("cursor", "the `next` of the page before")
        return cls(memory, store, left)


def _pair(memory: object) -> tuple[datetime, str] | None:
    if memory is None:
        return None
    items = cast("list[object]", memory) if isinstance(memory, list) else []
    if len(items) != 2 or not all(isinstance(item, str) for item in items):
        raise _invalid("cursor", "the `next` of the page before")
    created_at = datetime.fromisoformat(str(items[0]))
    if created_at.tzinfo is None:
        raise _invalid("cursor", "the `next` of the page before")
    return (created_at, str(items[1]))


def read_query(query: Mapping[str, str]) -> tuple[TaskFilter, int, Place]:
    """Return what `GET /tasks` asks for.

    Raises:
        CallerError: a value is not what is expected.
    """
    status = query.get("status")
    if status is not None and status not in list(TaskStatus):
        raise _invalid("status", f"one of {', '.join(TaskStatus)}")
    limit = query.get("limit", str(PAGE))
    short = limit.isascii() and limit.isdigit() and len(limit) < 10
    if not (short and 1 <= int(limit) <= LARGEST_PAGE):
        raise _invalid("limit", f"a whole number from 1 to {LARGEST_PAGE}")
    cursor = query.get("cursor")
    if cursor is not None and len(cursor) > MAX_CURSOR:
        raise _invalid("cursor", "the `next` of the page before")
    chosen = TaskFilter(status=status, function=query.get("function"), group=query.get("group"))
    return chosen, int(limit), Place() if cursor is None else Place.decode(cursor)


async def page_of(
    lists: TaskLists, chosen: TaskFilter, limit: int, place: Place
) -> tuple[list[TaskRecord], str | None]:
    """Return a page and the cursor of the next one, or None when it is the last.

    Raises:
        CallerError: the cursor did not come from here.
    """
    memory = lists.remembered(chosen, place.memory, limit + 1)  # one more tells whether that is all
    stored: list[TaskRecord] = []
    following: str | None = None
    if place.stored_left:
        stored, following = await lists.stored(chosen, limit, place.store)
    stored_left = following is not None
    page, shown = _merged(memory, stored, limit)
    taken = len(page) - shown
    if taken < len(stored):
        # The rest belongs to the next page. The store is asked again, because only it can name the
        # place after `taken`; what it shows now counts, because tasks may have arrived meanwhile.
        stored, following, stored_left = [], place.store, True
        if taken:
            stored, following = await lists.stored(chosen, taken, place.store)
            stored_left = following is not None
        page, _ = _merged(memory[:shown], stored, limit)
    if not page or (not stored_left and shown == len(memory)):
        return page, None
    # What arrives from now on is above the first task shown, and has no place on later pages.
    boundary = _age(memory[shown - 1]) if shown else place.memory or _age(page[0])
    return page, Place(boundary, following, stored_left).encode()


def _merged(
    memory: list[TaskRecord], stored: list[TaskRecord], limit: int
) -> tuple[list[TaskRecord], int]:
    """Return the newest of both, each in its own order, and how many of them are from memory."""
    page: list[TaskRecord] = []
    mine = 0
    for record in [*stored, None]:
        while mine < len(memory) and (record is None or _age(memory[mine]) > _age(record)):
            page.append(memory[mine])
            mine += 1
        if record is not None:
            page.append(record)
    own = {id(record) for record in memory}
    return page[:limit], sum(id(record) in own for record in page[:limit])


def _age(record: TaskRecord) -> tuple[datetime, str]:
    return (record.created_at, record.task_id)


def _invalid(field: str, expected: str) -> CallerError:
    message = f"Invalid {field}: expected {expected}"
    return CallerError(message, failure=failure("invalid_field", message))
