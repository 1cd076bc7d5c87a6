"""The client's calls about dead letters, against a real balancer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.client import Client
from shared.errors import CallerError, Conflict, NotFound
from shared.task_state import TaskStatus
from tests.fakes.dead_letters import Grave, bury
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.task_functions import PLAIN

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a balancer with dead letters of each kind."""
    await bury(
        tmp_path / "tasks.db",
        Grave("old", function="echo", content=b'{"text":"x"}', age_s=7200),
        Grave("failed", age_s=3600),
        Grave("set-aside", status=TaskStatus.QUARANTINED),
        Grave("untold", hook="http://127.0.0.1:9/told"),
    )
    async with (
        running_worker(*PLAIN) as worker,
        running_balancer(
            tmp_path, worker.url, store_url=f"sqlite:///{tmp_path}/tasks.db"
        ) as balancer,
        Client(balancer.url, key=LB_KEY) as client,
    ):
        yield client


async def test_letters_are_listed_in_pages(client: Client) -> None:
    """Newest first, with counts; every filter is sent."""
    first = await client.dead_letters(limit=3)
    rest = await client.dead_letters(limit=3, cursor=first.next)
    assert [each.id for each in (*first.dead, *rest.dead)] == [
        "msg_untold", "set-aside", "failed", "old",
    ]  # fmt: skip
    assert (rest.next, first.counts) == (None, {"task": 2, "webhook": 1, "quarantine": 1})
    narrow = await client.dead_letters(
        kind="task", function="echo", group="default", code="function_error", since=LONG_AGO
    )
    assert [each.id for each in narrow.dead] == ["old"]
    assert (await client.dead_letters(before=LONG_AGO)).dead == ()


async def test_a_letter_is_read_with_its_task(client: Client) -> None:
    """Typed, with what the webhook met."""
    letter = await client.dead_letter("msg_untold")
    assert (letter.kind, letter.code, letter.task_id) == ("webhook", "webhook_failed", "untold")
    assert letter.webhook is not None
    assert (letter.webhook.attempts, letter.webhook.error) == (4, "HTTP 500")
    assert letter.task is not None
    assert letter.task.value() == {"n": 1}
    with pytest.raises(NotFound):
        await client.dead_letter("no/body")


async def test_letters_are_replayed(client: Client) -> None:
    """One, which is told what it has become, and those that match."""
    done = await client.replay("failed")
    assert (done.kind, done.replay_of) == ("task", "failed")
    assert (await client.wait(done.task_id, 10)).value() == {"message": "Hello Ada!"}
    with pytest.raises(NotFound):
        await client.replay("failed")
    many = await client.replay_all(kind="task", limit=5)
    assert (many.replayed, many.more) == (1, False)
    with pytest.raises(CallerError):
        await client.replay_all(limit=5000)


async def test_letters_are_purged(client: Client) -> None:
    """One, those that match, and all of them."""
    await client.purge("old")
    with pytest.raises(NotFound):
        await client.purge("old")
    assert await client.purge_all(before=LONG_AGO) == 0
    assert await client.purge_all(kind="webhook") == 1
    assert await client.purge_all() == 2


async def test_a_quarantined_task_is_released(client: Client) -> None:
    """Once; then it is not quarantined any more."""
    await client.release("set-aside")
    assert (await client.wait("set-aside", 10)).status is TaskStatus.SUCCEEDED
    with pytest.raises(Conflict):
        await client.release("set-aside")
    with pytest.raises(NotFound):
        await client.release("nobody")
