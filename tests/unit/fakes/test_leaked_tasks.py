"""Tests of tests/fakes/leaked_tasks.py, which every async test is checked with."""

from __future__ import annotations

import asyncio

from tests.fakes.leaked_tasks import end_tasks, leaked_tasks


async def test_a_task_left_running_is_found_and_ended() -> None:
    """A task that waits for ever is a leak, and ending it lets the next test start clean."""
    before = asyncio.all_tasks()
    forever = asyncio.create_task(asyncio.Event().wait(), name="forever")
    assert await leaked_tasks(before) == [forever]
    await end_tasks([forever])
    assert forever.cancelled()
    assert await leaked_tasks(before) == []


async def test_a_task_that_is_just_ending_is_no_leak() -> None:
    """A cancelled task gets the few turns that its clean-up takes."""
    before = asyncio.all_tasks()
    ending = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    ending.cancel()
    assert await leaked_tasks(before) == []


async def test_a_task_that_ran_before_is_no_leak() -> None:
    """What a wider fixture runs is not the test's to end."""
    earlier = asyncio.create_task(asyncio.Event().wait())
    assert await leaked_tasks(asyncio.all_tasks()) == []
    await end_tasks([earlier])
