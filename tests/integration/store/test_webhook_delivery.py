"""Webhooks from the committed row to a real receiver, over restarts and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from balancer.delivery.webhooks import MAX_TRIES_A_HOST, WebhookDeliverer
from balancer.store.ports import Store
from balancer.store.sqlite import SqliteStore
from shared.client.webhook_sender import WebhookSender
from shared.ids import TaskId
from shared.system import SystemClock, system_chance
from shared.url_guard import UrlRules
from shared.webhooks import WebhookPolicy, parse_secrets, verify
from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.stored_tasks import accept, finish, stored_task, webhook
from tests.fakes.waiting import wait_until

SECRETS = parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
POLICY = WebhookPolicy(timeout_s=2, retry_delay_s=0.02, secrets=SECRETS)


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    """Return a running receiver."""
    async with hook_receiver() as running:
        yield running


class Balancer:
    """The delivering part of a balancer, over a file."""

    def __init__(self, path: Path, *, allow_private: bool = True) -> None:
        self._path = path
        self._rules = UrlRules(allow_private=allow_private)
        self._ends = AsyncExitStack()

    async def __aenter__(self) -> Balancer:
        self.clock = SystemClock()
        self.store: Store = await SqliteStore.open(str(self._path), clock=self.clock)
        self._ends.push_async_callback(self.store.close)
        sender = WebhookSender(POLICY, self._rules, clock=self.clock)
        self._ends.push_async_callback(sender.close)
        self.deliverer = WebhookDeliverer(
            self.store.outbox, sender, POLICY, clock=self.clock, chance=system_chance()
        )
        self.deliverer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.deliverer.stop(grace_s=0)
        await self._ends.aclose()

    async def end(self, number: int, url: str) -> None:
        """Accept and end a task whose webhook goes to a URL."""
        await accept(self.store, stored_task(number))
        now = self.clock.utc_now()
        await finish(
            self.store, f"t{number}", at=now, row=webhook(f"t{number}", url=url, next_at=now)
        )
        self.deliverer.wake()

    async def status(self, number: int) -> str | None:
        """Return the state of a task's webhook."""
        record = await self.store.tasks.get(TaskId(f"t{number}"))
        return None if record is None or record.webhook is None else record.webhook.status


async def test_a_receiver_that_fails_twice_gets_it_at_the_third_try(
    tmp_path: Path, receiver: HookReceiver
) -> None:
    """One id, three tries, each signed for its own moment."""
    receiver.script = [503, 500, 204]
    async with Balancer(tmp_path / "x.db") as balancer:
        await balancer.end(1, receiver.url())
        await wait_until(lambda: balancer.deliverer.counts["delivered"], "it is delivered")
        assert await balancer.status(1) == "delivered"
    assert [got.headers["webhook-id"] for got in receiver.received] == ["msg_t1"] * 3
    for got in receiver.received:
        stamp = float(got.headers["webhook-timestamp"])
        assert verify(SECRETS, got.headers, got.body, now_s=stamp) is None


async def test_a_webhook_outlives_its_balancer(tmp_path: Path, receiver: HookReceiver) -> None:
    """A balancer that stopped in the middle of a try leaves it to the next one."""
    receiver.gate = asyncio.Event()
    async with Balancer(tmp_path / "x.db") as first:
        await first.end(1, receiver.url())
        await wait_until(lambda: receiver.received, "the first try has arrived")
    receiver.gate.set()
    async with Balancer(tmp_path / "x.db") as second:
        await wait_until(lambda: second.deliverer.counts["delivered"], "it is delivered")
        assert await second.status(1) == "delivered"
    assert {got.headers["webhook-id"] for got in receiver.received} == {"msg_t1"}


async def test_many_webhooks_go_out_side_by_side_within_the_limit(
    tmp_path: Path, receiver: HookReceiver
) -> None:
    """A hundred for one host: all arrive once, a few at a time."""
    receiver.gate = asyncio.Event()
    async with Balancer(tmp_path / "x.db") as balancer:
        await asyncio.gather(*(balancer.end(n, receiver.url(f"/{n}")) for n in range(1, 101)))
        await wait_until(lambda: receiver.at_once == MAX_TRIES_A_HOST, "the host is at its limit")
        receiver.gate.set()
        await wait_until(lambda: balancer.deliverer.counts["delivered"] == 100, "all are delivered")
    assert sorted(got.path for got in receiver.received) == sorted(f"/{n}" for n in range(1, 101))
    assert receiver.most_at_once == MAX_TRIES_A_HOST


async def test_a_private_address_is_a_dead_letter_where_it_is_forbidden(
    tmp_path: Path, receiver: HookReceiver
) -> None:
    """The guard holds at delivery too: nothing is dialled."""
    async with Balancer(tmp_path / "x.db", allow_private=False) as balancer:
        await balancer.end(1, receiver.url())
        await wait_until(lambda: balancer.deliverer.counts["dead"], "it is given up")
        assert await balancer.status(1) == "dead"
    assert receiver.received == []
