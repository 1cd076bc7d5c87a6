"""The webhook: a receiver of our own, a task whose result is posted to it, and the signature's proof."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from aiohttp import web

from cabrank.cli.demo.checks import Check
from shared.system import SystemClock, new_secret
from shared.task_state import TaskStatus
from shared.webhooks import OUTCOME, SECRET_PREFIX, SIGNATURE, parse_secrets, verify

if TYPE_CHECKING:
    from types import TracebackType

    from shared.client import Client, TaskInfo
    from shared.client.records import Json

FUNCTION = "primes"
BELOW = 2_000_000
PRIMES = 148_933  # pi(2,000,000), from tables of the prime-counting function
MAX_WAIT_S = 60.0
MAX_BODY = 1024 * 1024


def new_webhook_secret() -> str:
    """Return a fresh WEBHOOK_SECRET."""
    return SECRET_PREFIX + base64.b64encode(bytes.fromhex(new_secret())).decode()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request that the receiver got.

    Attributes:
        headers: names in lower case.
        body: its bytes.
        at_s: when, on the loop's clock.
        wrong: what is wrong with its signature; None when it is genuine.
    """

    headers: dict[str, str]
    body: bytes
    at_s: float
    wrong: str | None


class Receiver:
    """A small HTTP server that takes webhooks; `async with Receiver(secret) as receiver`.

    Attributes:
        url: where to send them.
        deliveries: what came, in order.
    """

    def __init__(self, secret: str) -> None:
        self.url = ""
        self.deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        self._secrets = parse_secrets(secret)
        self._clock = SystemClock()
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        """Listen on a free port of this machine."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    def check(self, headers: dict[str, str], body: bytes) -> str | None:
        """Return what is wrong with a webhook's signature; None when it is genuine."""
        return verify(self._secrets, headers, body, now_s=self._clock.utc_now().timestamp())

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        at_s = asyncio.get_running_loop().time()
        wrong = self.check(headers, body)
        self.deliveries.put_nowait(Delivery(headers, body, at_s, wrong))
        return web.Response(status=204 if wrong is None else 401)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooked:
    """What the webhook task brought.

    Attributes:
        task_id: its id.
        accepted_s: from the call to the 202.
        delivered_s: from the call to the delivery; None when none came.
        delivery: what came.
        forged: what the receiver says to the same delivery with another body.
        record: what the balancer says about the task afterwards.
    """

    task_id: str
    accepted_s: float
    delivered_s: float | None
    delivery: Delivery | None
    forged: str | None
    record: TaskInfo

    @property
    def result(self) -> dict[str, Json]:
        """Return the body as a JSON object; empty when there is none."""
        try:
            value = json.loads(self.delivery.body) if self.delivery else None
        except ValueError:
            value = None
        return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


async def run_hook(client: Client, receiver: Receiver) -> Hooked:
    """Hand a task over and wait for its result at the receiver."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    task_id = await client.submit(FUNCTION, below=BELOW, webhook=receiver.url)
    accepted_s = loop.time() - started_s
    try:
        delivery = await asyncio.wait_for(receiver.deliveries.get(), MAX_WAIT_S)
    except TimeoutError:
        delivery = None
    return Hooked(
        task_id=task_id,
        accepted_s=accepted_s,
        delivered_s=None if delivery is None else delivery.at_s - started_s,
        delivery=delivery,
        forged=None if delivery is None else receiver.check(delivery.headers, b'{"count":1}'),
        record=await _settled(client, task_id),
    )


async def _settled(client: Client, task_id: str) -> TaskInfo:
    """Return the record once the balancer has noted the delivery, which it does after our answer."""
    record = await client.wait(task_id, MAX_WAIT_S)
    for _ in range(100):
        if record.webhook is None or record.webhook.status != "pending":
            break
        await asyncio.sleep(0.05)
        record = await client.status(task_id)
    return record


def check_hook(hooked: Hooked) -> list[Check]:
    """Return what the webhook promises and whether it held."""
    delivery = hooked.delivery
    headers = {} if delivery is None else delivery.headers
    genuine = delivery is not None and delivery.wrong is None
    count = hooked.result.get("count")
    state = hooked.record.webhook.status if hooked.record.webhook else "none"
    done = hooked.record.status is TaskStatus.SUCCEEDED and state == "delivered"
    return [
        Check(
            "the webhook arrived and its signature is genuine",
            genuine and headers.get(OUTCOME) == "succeeded",
            "nothing came" if delivery is None else delivery.wrong or headers[SIGNATURE],
        ),
        Check(
            "the same signature under another body is refused",
            genuine and hooked.forged is not None,
            hooked.forged or "it was taken for genuine",
        ),
        Check(f"there are {PRIMES:,} primes below {BELOW:,}", count == PRIMES, f"{count}"),
        Check("the balancer's record agrees", done, f"{hooked.record.status}, webhook {state}"),
    ]
