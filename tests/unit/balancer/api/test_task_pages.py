"""Pages of `GET /tasks`: memory and store merged, each task once, whatever arrives meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.api.task_pages import Place, page_of, read_query
from balancer.store.memory import MemoryStore
from balancer.store.ports import TaskFilter
from shared.errors import CallerError
from shared.ids import TaskId
from shared.task import TaskRecord
from shared.task_state import TaskStatus
from tests.fakes.stored_tasks import accept, after, stored_task

ALL = TaskFilter()


class Lists:
    """Tasks in memory beside a real memory store; some may arrive in the middle of a page.

    Attributes:
        arrivals: durable tasks that arrive, one before each question to the store.
    """

    def __init__(self) -> None:
        self.memory: list[TaskRecord] = []
        self.store = MemoryStore(asyncio.get_running_loop().call_soon)
        self.arrivals: list[Callable[[], None]] = []
        self._count = 0

    def remember(self, at_s: float, status: TaskStatus = TaskStatus.SUCCEEDED) -> str:
        """Add a task to memory."""
        self._count += 1
        record = stored_task(1).record
        task_id = TaskId(f"m{self._count}")
        self.memory.append(replace(record, task_id=task_id, created_at=after(at_s), status=status))
        return task_id

    async def keep(self, at_s: float) -> str:
        """Add a task to the store."""
        self._count += 1
        task = stored_task(self._count, order=self._count)
        record = replace(task.record, created_at=after(at_s))
        await accept(self.store, replace(task, record=record, created_at=after(at_s)))
        return task.task_id

    def remembered(
        self, chosen: TaskFilter, below: tuple[datetime, str] | None, limit: int
    ) -> list[TaskRecord]:
        """Return what is in memory."""
        found = [
            record
            for record in self.memory
            if (below is None or (record.created_at, record.task_id) < below)
            and chosen.status in (None, record.status)
            and chosen.function in (None, record.function)
            and chosen.group in (None, record.group)
        ]
        found.sort(key=lambda record: (record.created_at, record.task_id), reverse=True)
        return found[:limit]

    async def stored(
        self, chosen: TaskFilter, limit: int, cursor: str | None
    ) -> tuple[list[TaskRecord], str | None]:
        """Return a page of the store, after something may have arrived."""
        if self.arrivals:
            self.arrivals.pop(0)()
        return await self.store.tasks.list(chosen, limit=limit, cursor=cursor)


async def _ids(
    lists: Lists, limits: list[int], between: Callable[[], None] = lambda: None
) -> list[str]:
    """Read every page, each with the next limit, and return the ids in the order in which they came."""
    found: list[str] = []
    place, turn = Place(), 0
    while True:
        page, following = await page_of(lists, ALL, limits[turn % len(limits)], place)
        assert len(page) <= limits[turn % len(limits)]
        found += [record.task_id for record in page]
        if following is None:
            return found
        assert page, "a page without tasks leads nowhere"
        place, turn = Place.decode(following), turn + 1
        between()


# Each task: is it durable, and how much later than the one before it was it accepted?
TASKS = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=25)
LIMITS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@given(tasks=TASKS, limits=LIMITS)
def test_pages_of_any_size_are_the_whole_list(
    tasks: list[tuple[bool, int]], limits: list[int]
) -> None:
    """Concatenated pages equal one large page: every task once, newest first."""

    async def check() -> None:
        lists, now_s, times = Lists(), 0, dict[str, int]()
        for durable, later in tasks:
            now_s += later
            task_id = await lists.keep(now_s) if durable else lists.remember(now_s)
            times[task_id] = now_s
        whole = await _ids(lists, [1000])
        assert await _ids(lists, limits) == whole
        assert sorted(whole) == sorted(times)
        moments = [times[task_id] for task_id in whole]
        assert moments == sorted(moments, reverse=True)

    asyncio.run(check())


@given(tasks=TASKS, limits=LIMITS, late=st.lists(st.booleans(), max_size=12))
def test_tasks_that_arrive_neither_repeat_nor_hide_others(
    tasks: list[tuple[bool, int]], limits: list[int], late: list[bool]
) -> None:
    """Arrivals between two pages, and in the middle of one, leave the tasks that were there alone."""

    async def check() -> None:
        lists, now_s = Lists(), 0
        for durable, later in tasks:
            now_s += later
            _ = await lists.keep(now_s) if durable else lists.remember(now_s)
        before = await _ids(lists, [1000])
        waiting = [asyncio.create_task(asyncio.sleep(0))]
        moment = now_s + 1

        def arrive(durable: bool) -> None:
            if durable:
                waiting.append(asyncio.create_task(_kept(lists, moment)))
            else:
                lists.remember(moment)

        lists.arrivals = [lambda kind=kind: arrive(kind) for kind in late]
        found = await _ids(lists, limits, lambda: arrive(bool(len(late) % 2)))
        await asyncio.gather(*waiting)
        assert len(found) == len(set(found)), "no task is shown twice"
        assert [task_id for task_id in found if task_id in set(before)] == before

    asyncio.run(check())


async def _kept(lists: Lists, at_s: float) -> None:
    await lists.keep(at_s)


async def test_a_filter_holds_for_both(tmp_path: object) -> None:
    """Status, function and group narrow memory and store alike."""
    del tmp_path
    lists = Lists()
    kept = await lists.keep(1)
    queued = lists.remember(2, TaskStatus.QUEUED)
    lists.remember(3, TaskStatus.FAILED)
    for chosen, expected in (
        (TaskFilter(status="queued"), [queued, kept]),
        (TaskFilter(function="hello"), ["m3", queued, kept]),
        (TaskFilter(function="other"), []),
        (TaskFilter(group="other"), []),
    ):
        page, following = await page_of(lists, chosen, 10, Place())
        assert [record.task_id for record in page] == expected
        assert following is None


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "W10", "W251bGwsIG51bGwsIDFd", "W1sxLCAyXSwgbnVsbCwgdHJ1ZV0", "bnVsbA", "MQ", "A" * 2000],
)  # fmt: skip
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    """Garbage, foreign JSON and oversized cursors are the caller's error."""
    with pytest.raises(CallerError, match="Invalid cursor"):
        read_query({"cursor": cursor})


async def test_a_cursor_inside_a_cursor_is_checked_too() -> None:
    """A cursor of ours that carries a store's cursor that is not the store's is refused there."""
    place = Place(None, "nonsense", True)
    assert read_query({"cursor": place.encode()})[2] == place
    with pytest.raises(CallerError):
        await page_of(Lists(), ALL, 5, place)


@pytest.mark.parametrize(
    ("query", "limit"), [({}, 50), ({"limit": "1"}, 1), ({"limit": "1000"}, 1000)]
)
def test_limits_have_a_default_and_bounds(query: dict[str, str], limit: int) -> None:
    """50 unless the caller says otherwise, up to 1000."""
    assert read_query(query)[1] == limit


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1.5", "", "x", "９", "9" * 50])
def test_other_limits_are_refused(limit: str) -> None:
    """What is no whole number in the bounds is named."""
    with pytest.raises(CallerError, match="Invalid limit"):
        read_query({"limit": limit})
