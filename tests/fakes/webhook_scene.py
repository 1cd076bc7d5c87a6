"""A deliverer of webhooks over a memory store, with a sender that answers by script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from balancer.delivery.webhooks import WebhookDeliverer
from balancer.store.memory import MemoryStore
from balancer.store.ports import OutboxRow
from shared.client.webhook_sender import Delivered, Sent
from shared.ids import TaskId
from shared.task import WebhookState
from shared.webhooks import WebhookPolicy
from tests.fakes.manual_clock import ManualClock
from tests.fakes.stored_tasks import accept, finish, stored_task
from tests.fakes.waiting import wait_until


class FullJitter:
    """A chance that always draws the longest wait."""

    def random(self) -> float:
        """Return the end of the range."""
        return 1.0


class ScriptedSender:
    """Answers each try by script, per URL; a gate holds tries back."""

    def __init__(self) -> None:
        self.script: dict[str, list[Sent]] = {}
        self.tried: list[tuple[str, str]] = []  # (webhook id, url), in order
        self.open = asyncio.Event()
        self.open.set()
        self.held_urls: set[str] = set()
        self.under_way: list[str] = []

    async def send(
        self,
        *,
        webhook_id: str,
        url: str,
        body: bytes,
        outcome: str,
        headers: Sequence[tuple[str, str]] = (),
        correlation_id: str = "",
    ) -> Sent:
        """Take a try."""
        assert (body, outcome, headers, correlation_id) == (
            b'{"text":"Hello"}',
            "succeeded",
            (("x-a", "1"),),
            "c",
        )
        self.tried.append((webhook_id, url))
        self.under_way.append(url)
        try:
            if url in self.held_urls or not self.held_urls:
                await self.open.wait()
        finally:
            self.under_way.remove(url)
        answers = self.script.get(url)
        return answers.pop(0) if answers else Delivered(200)


class Scene:
    """A memory store, a sender and deliverers over them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(asyncio.get_running_loop().call_soon)
        self.sender = ScriptedSender()
        self.events: list[tuple[str, str, str]] = []
        self.started: list[WebhookDeliverer] = []

    def start(self, **limits: int) -> WebhookDeliverer:
        """Start a deliverer."""
        deliverer = WebhookDeliverer(
            self.store.outbox,
            self.sender,
            WebhookPolicy(),
            clock=self.clock,
            chance=FullJitter(),
            observe=lambda row, event, error: self.events.append((row.task_id, event, error)),
            **limits,
        )
        deliverer.start()
        self.started.append(deliverer)
        return deliverer

    async def put(self, *rows: OutboxRow) -> None:
        """Commit webhooks with the ends of their tasks."""
        for row in rows:
            await accept(self.store, stored_task(int(row.task_id[1:])))
            await finish(self.store, row.task_id, row=row)

    async def state(self, task_id: str) -> WebhookState | None:
        """Return what a caller sees of a webhook."""
        record = await self.store.tasks.get(TaskId(task_id))
        assert record is not None
        return record.webhook

    async def until(self, predicate: Callable[[], object], description: str) -> None:
        """Wait for the deliverer."""
        await wait_until(predicate, description)
