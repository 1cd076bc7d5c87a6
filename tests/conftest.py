"""What holds for every test: real processes take turns, and an async test leaves no task behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import cast

import hypothesis
import pytest
import structlog

from tests.fakes.leaked_tasks import end_tasks, leaked_tasks

# A busy machine must not fail a property: a test that hangs is ended by pytest's own time-out. In CI the
# library's own profile, which this one extends, repeats the same examples in every run.
hypothesis.settings.register_profile(
    "cabrank", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("cabrank")

# Tests with one of these marks start real servers: side by side they would measure each other.
ONE_AT_A_TIME = ("acceptance", "browser")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Put the tests that drive real processes on one xdist worker, and start them first.

    They take the longest: begun first, they run beside all the others and the whole ends soonest.
    """
    for item in items:
        if _drives_processes(item):
            item.add_marker(pytest.mark.xdist_group("real-processes"))
    yield
    items.sort(key=lambda item: not _drives_processes(item))


def _drives_processes(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(mark) for mark in ONE_AT_A_TIME)


@pytest.fixture(autouse=True)
def own_logging() -> None:
    """Let no test inherit the level at which another one has set the logging up."""
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest) -> None:
    """Check async tests for tasks left running; sync tests get no loop for it.

    The fixture of the root conftest is set up first, so it looks last, when the test's own are torn down.
    """
    node = cast("object", request.node)  # pyright: ignore[reportUnknownMemberType]  # untyped in pytest
    if isinstance(node, pytest.Item) and node.get_closest_marker("asyncio"):
        request.getfixturevalue("no_task_left_running")


@pytest.fixture
async def no_task_left_running() -> AsyncIterator[None]:
    """Fail a test that ends before the tasks it started."""
    before = asyncio.all_tasks()
    yield
    leaked = await leaked_tasks(before)
    if leaked:
        names = "\n".join(f"  {task!r}" for task in leaked)
        await end_tasks(leaked)
        pytest.fail(f"the test left {len(leaked)} task(s) running:\n{names}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what a test has logged that is no Unicode: xdist cannot send it, and would end the run."""
    del item, call
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report
