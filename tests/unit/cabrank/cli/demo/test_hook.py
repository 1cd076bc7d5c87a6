"""The demo's webhook: receiver, signature, checks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from cabrank.cli.demo.hook import (
    PRIMES,
    Hooked,
    Receiver,
    check_hook,
    new_webhook_secret,
    run_hook,
)
from shared.client import Client
from shared.system import SystemClock
from shared.webhooks import WebhookPolicy, parse_secrets, request_headers
from tests.fakes.contract_server import KEY, ContractServer, Input
from tests.fakes.waiting import wait_until

BODY = b'{"count":%d}' % PRIMES


def _headers(secret: str, body: bytes = BODY) -> dict[str, str]:
    policy = WebhookPolicy(secrets=parse_secrets(secret))
    now_s = int(SystemClock().utc_now().timestamp())
    return dict(
        request_headers(policy, webhook_id="m-1", timestamp=now_s, body=body, outcome="succeeded")
    )


async def _post(url: str, headers: dict[str, str], body: bytes = BODY) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        return response.status


def test_a_secret_is_one_and_always_another() -> None:
    """What is generated is what WEBHOOK_SECRET takes."""
    first, second = new_webhook_secret(), new_webhook_secret()
    assert first != second
    assert len(parse_secrets(f"{first} {second}")) == 2


async def test_the_receiver_tells_genuine_from_forged() -> None:
    """A good signature gets a 2xx, another one a 401; both are kept, with what is wrong."""
    secret = new_webhook_secret()
    async with Receiver(secret) as receiver:
        assert await _post(receiver.url, _headers(secret)) == 204
        assert await _post(receiver.url, _headers(new_webhook_secret())) == 401
        assert await _post(receiver.url, {}) == 401
        verdicts = [receiver.deliveries.get_nowait().wrong for _ in range(3)]
    assert [verdict is None for verdict in verdicts] == [True, False, False]


@pytest.fixture
async def hooked() -> AsyncIterator[Hooked]:
    """A webhook task that went well."""
    secret = new_webhook_secret()

    async def never(_: Input) -> object:
        return None

    async with (
        ContractServer() as server,
        Receiver(secret) as receiver,
        Client(server.url, key=KEY) as client,
    ):
        server.calls["primes"] = never
        running = asyncio.create_task(run_hook(client, receiver))
        await wait_until(lambda: server.records, "the task is accepted")
        await _post(receiver.url, _headers(secret))
        server.finish("task-1", status="succeeded", webhook={"status": "delivered", "attempts": 1})
        hooked = await running
        assert server.bodies[0]["webhook"] == {"url": receiver.url}
        yield hooked


async def test_a_good_webhook_holds(hooked: Hooked) -> None:
    """It arrived, it is genuine, its result is right, and the record agrees."""
    assert [check.held for check in check_hook(hooked)] == [True] * 4
    assert hooked.task_id == "task-1"
    assert hooked.delivered_s is not None
    assert hooked.delivered_s >= hooked.accepted_s > 0


async def test_what_is_wrong_is_found(hooked: Hooked) -> None:
    """No delivery, a wrong signature, a wrong result and a record that differs are each found."""
    delivery = hooked.delivery
    assert delivery is not None
    cases = [
        (replace(hooked, delivery=None, forged=None), [False, False, False, True]),
        (replace(hooked, delivery=replace(delivery, wrong="No signature matches")), [False, False, True, True]),
        (replace(hooked, forged=None), [True, False, True, True]),
        (replace(hooked, delivery=replace(delivery, body=b'{"count":1}')), [True, True, False, True]),
        (replace(hooked, delivery=replace(delivery, body=b"not json")), [True, True, False, True]),
    ]  # fmt: skip
    for case, held in cases:
        assert [check.held for check in check_hook(case)] == held
