"""Tests of tests/fakes/waiting.py."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.waiting import wait_until, wait_until_sync


async def test_wait_until_returns_the_first_truthy_value() -> None:
    """The wait ends with what the predicate found, as soon as it found it."""
    answers = iter([None, "", "found", "too late"])
    assert await wait_until(lambda: next(answers), "an answer comes", interval_s=0) == "found"


async def test_wait_until_awaits_an_async_predicate() -> None:
    """A predicate may ask over the network."""
    answers = iter([0, 0, 7])

    async def ask() -> int:
        await asyncio.sleep(0)
        return next(answers)

    assert await wait_until(ask, "seven comes", interval_s=0) == 7


async def test_wait_until_lets_other_tasks_run() -> None:
    """What is waited for can be done by a task of the same loop."""
    done: list[str] = []
    task = asyncio.ensure_future(asyncio.to_thread(done.append, "by a thread"))
    assert await wait_until(lambda: done, "the thread has run") == ["by a thread"]
    await task


async def test_wait_until_fails_with_what_it_saw() -> None:
    """A wait in vain names the description, the time and the last value."""
    with pytest.raises(AssertionError, match=r"waited 0 s in vain until a worker joins; .* saw 0$"):
        await wait_until(lambda: 0, "a worker joins", timeout_s=0)


def test_wait_until_sync_returns_the_first_truthy_value() -> None:
    """The twin without a loop does the same."""
    answers = iter([None, "found"])
    assert wait_until_sync(lambda: next(answers), "an answer comes", interval_s=0) == "found"


def test_wait_until_sync_fails_with_what_it_saw() -> None:
    """The twin without a loop fails with the same words."""
    with pytest.raises(AssertionError, match=r"waited 0 s in vain until it is up; .* saw None$"):
        wait_until_sync(lambda: None, "it is up", timeout_s=0)
