"""Pages of `GET /tasks`: tasks in memory and in the store, merged newest first.

A page's cursor names where each of the two was left, so tasks that arrive between two pages neither
repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from balancer.store.ports import TaskFilter
from shared.errors import CallerError, failure
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.api.views import TaskViews
    from shared.task import TaskRecord

PAGE = 50
LARGEST_PAGE = 1000
MAX_CURSOR = 1024  # characters


@dataclass(frozen=True, slots=True)
class Place:
    """Where a listing was left.

    Attributes:
        memory: (created_at, id) of the last task shown from memory; None for none yet.
        store: cursor of the store; None for its beginning.
        stored_left: the store has more.
    """

    memory: tuple[str, str] | None = None
    store: str | None = None
    stored_left: bool = True

    def encode(self) -> str:
        """Return the opaque form."""
        text = json.dumps([self.memory, self.store, self.stored_left])
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
            memory, store, left = cast("tuple[object, object, object]", json.loads(text))
        except (binascii.Error, ValueError, TypeError):
            raise _invalid("cursor", "the `next` of the page before") from None
        if not isinstance(left, bool) or not (store is None or isinstance(store, str)):
            raise _invalid("cursor", "the `next` of the page before")
        return cls(_pair(memory), store, left)


def _pair(memory: object) -> tuple[str, str] | None:
    if memory is None:
        return None
    items = cast("list[object]", memory) if isinstance(memory, list) else []
    if len(items) != 2 or not all(isinstance(item, str) for item in items):
        raise _invalid("cursor", "the `next` of the page before")
    return (str(items[0]), str(items[1]))


def read_query(query: Mapping[str, str]) -> tuple[TaskFilter, int, Place]:
    """Return what `GET /tasks` asks for.

    Raises:
        CallerError: a value is not what is expected.
    """
    status = query.get("status")
    if status is not None and status not in list(TaskStatus):
        raise _invalid("status", f"one of {', '.join(TaskStatus)}")
    limit = query.get("limit", str(PAGE))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= LARGEST_PAGE):
        raise _invalid("limit", f"a whole number from 1 to {LARGEST_PAGE}")
    cursor = query.get("cursor")
    if cursor is not None and len(cursor) > MAX_CURSOR:
        raise _invalid("cursor", "the `next` of the page before")
    chosen = TaskFilter(status=status, function=query.get("function"), group=query.get("group"))
    return chosen, int(limit), Place() if cursor is None else Place.decode(cursor)


async def page_of(
    views: TaskViews, chosen: TaskFilter, limit: int, place: Place
) -> tuple[list[TaskRecord], str | None]:
    """Return a page and the cursor of the next one, or None when it is the last.

    Raises:
        CallerError: the cursor did not come from here.
    """
    memory = [r for r in views.remembered() if _matches(r, chosen) and _is_below(r, place.memory)]
    memory.sort(key=_age, reverse=True)
    stored: list[TaskRecord] = []
    following: str | None = None
    if place.stored_left:
        stored, following = await views.stored(chosen, limit, place.store)
    from_memory, taken = _shares(memory, stored, limit)
    if taken < len(stored):
        # The rest belongs to the next page. The store is asked again, because only it can name the
        # place after `taken`; what it shows now counts, because tasks may have arrived meanwhile.
        stored, following = (
            await views.stored(chosen, taken, place.store) if taken else ([], place.store)
        )
        stored_left = not taken or following is not None
    else:
        stored_left = following is not None
    page = sorted([*memory[:from_memory], *stored], key=_age, reverse=True)
    if not stored_left and from_memory == len(memory):
        return page, None
    # What arrives from now on is above the first task shown, and has no place on later pages.
    boundary = _age(memory[from_memory - 1]) if from_memory else place.memory or _age(page[0])
    return page, Place(boundary, following, stored_left).encode()


def _shares(memory: list[TaskRecord], stored: list[TaskRecord], limit: int) -> tuple[int, int]:
    """Return how many of each make up a page: always the newer of the two heads."""
    mine = theirs = 0
    while mine + theirs < limit and (mine < len(memory) or theirs < len(stored)):
        if theirs == len(stored) or (
            mine < len(memory) and _age(memory[mine]) > _age(stored[theirs])
        ):
            mine += 1
        else:
            theirs += 1
    return mine, theirs


def _age(record: TaskRecord) -> tuple[str, str]:
    return (record.created_at.isoformat(timespec="microseconds"), record.task_id)


def _is_below(record: TaskRecord, boundary: tuple[str, str] | None) -> bool:
    return boundary is None or _age(record) < boundary


def _matches(record: TaskRecord, chosen: TaskFilter) -> bool:
    return (
        chosen.status in (None, record.status.value)
        and chosen.function in (None, record.function)
        and chosen.group in (None, record.group)
    )


def _invalid(field: str, expected: str) -> CallerError:
    message = f"Invalid {field}: expected {expected}"
    return CallerError(message, failure=failure("invalid_field", message))
