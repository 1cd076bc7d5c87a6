"""One listed worker, dialled for as long as it is listed: look, open the way, serve, redial.

A look is `GET /health` with the balancer's key. A worker that shows a Cabrank link gets one; any
other is driven by plain HTTP and its slot socket. A way that closes is redialled with a backoff that
never exceeds 2 s (contract §6), so that a link that was cut resumes within its window.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import aiohttp
from websockets.exceptions import InvalidStatus, WebSocketException

from balancer.fleet.http_worker import HttpWorkerPort
from balancer.fleet.link import STREAM_CREDIT, TICK_S, LinkPort
from balancer.fleet.slot_socket import SlotSocket, report_of_view
from shared.errors import CabrankError
from shared.ids import BootId
from shared.protocol.balancer_link import BalancerLink
from shared.slot_report import SlotReport

if TYPE_CHECKING:
    from balancer.fleet.ports import FleetEvents, Keeper
    from balancer.fleet.worker import FleetWorker
    from shared.clock import Chance, Clock
    from shared.protocol.messages import Welcome

FIRST_BACKOFF_S = 0.05
LAST_BACKOFF_S = 2.0  # contract §6
STUCK_MARGIN_S = 5.0  # past STALL_WINDOW: by then the core has given a silent worker up
MAX_HEALTH = 4 * 1024**2  # bytes of a /health answer


@dataclass(frozen=True, slots=True, kw_only=True)
class DialSettings:
    """How workers are reached.

    Attributes:
        balancer_id: stable over restarts of this balancer.
        boot_id: of this start.
        lb_key: LB_AUTH_KEY.
        auth_key: key of plain HTTP workers that name none.
        interval_s: between looks at a plain HTTP worker.
        timeout_s: of one look and of opening a way.
        heartbeat_interval_s, heartbeat_timeout_s: of a way.
        resume_window_s: told to workers.
        stall_window_s: a worker that was silent for longer is dialled anew.
    """

    balancer_id: str
    boot_id: str
    lb_key: str
    auth_key: str
    interval_s: float = 1.0
    timeout_s: float = 3.0
    heartbeat_interval_s: float = 3.0
    heartbeat_timeout_s: float = 3.0
    resume_window_s: float = 2.0
    stall_window_s: float = 30.0


class Refused(CabrankError):
    """The worker cannot be used"""

    code = "worker_unreachable"


class Dialer:
    """Keeps the way to one worker open.

    Args:
        worker: the worker.
        events: the engine.
        keeper: the fleet.
        session: for HTTP.
        settings: how to reach it.
    """

    def __init__(
        self, worker: FleetWorker, events: FleetEvents, keeper: Keeper,
        session: aiohttp.ClientSession, clock: Clock, chance: Chance, settings: DialSettings,
    ) -> None:  # fmt: skip
        self.worker = worker
        self._events = events
        self._keeper = keeper
        self._session = session
        self._clock = clock
        self._chance = chance
        self._settings = settings
        self._linked_before = False
        self._http: HttpWorkerPort | None = None

    async def run(self) -> None:
        """Dial until the worker is retired and runs nothing, or until cancelled."""
        failures = 0
        try:
            while not self._done():
                opened_s = self._clock.monotonic()
                await self._try()
                self._keeper.looked(self.worker)
                lasted_s = self._clock.monotonic() - opened_s
                failures = 0 if lasted_s > LAST_BACKOFF_S else failures + 1
                if not self._done():
                    await asyncio.sleep(backoff_s(failures, self._chance))
        finally:
            await self._end_calls()

    def _done(self) -> bool:
        idle = self.worker.retired and self._events.running_on(self.worker.id) == 0
        return idle or self._keeper.parting

    async def _try(self) -> None:
        try:
            await self._serve()
        except (
            OSError, TimeoutError, aiohttp.ClientError, WebSocketException, CabrankError, ValueError,
        ) as exc:  # fmt: skip
            self.worker.found = False
            self.worker.problem = _reason(exc)
        except Exception as exc:
            # A bug of ours, or a worker that found one: it must not end the dialling.
            self.worker.found = False
            self.worker.problem = f"internal error: {type(exc).__name__}"
            self._keeper.failed(self.worker, exc)

    async def _serve(self) -> None:
        # A link that was cut is taken up again without a look, because its window is short.
        if not self._linked_before and not await self._look():
            await self._serve_http()
            return
        await self._end_calls()
        try:
            await self._serve_link()
        except InvalidStatus as exc:
            self._linked_before = False  # it may have become another worker: look again
            if exc.response.status_code == 401:
                raise Refused("it does not take LB_AUTH_KEY (401)") from None
            raise

    # Looking

    async def _look(self) -> bool:
        """Learn what the worker tells of itself; True when it has a Cabrank link."""
        headers = {"x-lb-auth": self._settings.lb_key}
        limit = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        async with self._session.get(
            f"{self.worker.entry.url}/health", headers=headers, timeout=limit, allow_redirects=False
        ) as reply:
            raw = bytearray()
            while len(raw) <= MAX_HEALTH and (more := await reply.content.read(MAX_HEALTH)):
                raw += more
        if reply.status != 200 or len(raw) > MAX_HEALTH:
            raise Refused(f"/health answered {reply.status}")
        told: object = json.loads(raw)
        if not isinstance(told, dict):
            raise Refused("/health is not a JSON object")
        return self._learn(cast("dict[str, object]", told))

    def _learn(self, told: dict[str, object]) -> bool:
        group, contract = told.get("group"), told.get("contract")
        if not isinstance(group, str) or type(contract) is not int:
            raise Refused("it does not take LB_AUTH_KEY: /health shows the public view only")
        worker = self.worker
        own = told.get("worker_id")
        worker.worker_id = own if isinstance(own, str) else ""
        self._refuse_duplicate(worker.worker_id)
        worker.found = True
        version = told.get("version")
        worker.software = version if isinstance(version, str) else ""
        port = told.get("websocketPort")
        worker.websocket_port = port if isinstance(port, int) else None
        news = worker.announce(group, contract, told.get("functions"))
        worker.learn(told)
        worker.report = report_of_view(told) or SlotReport()
        if news:
            self._keeper.known(worker)
        return isinstance(told.get("link"), dict)

    def _refuse_duplicate(self, worker_id: str) -> None:
        other = self._keeper.duplicate(self.worker, worker_id) if worker_id else None
        if other is not None:
            raise Refused(f"the same worker as {other}: one link a worker")

    # Links

    async def _serve_link(self) -> None:
        settings = self._settings
        port = LinkPort(
            self.worker, self._events, self._clock,
            machine=lambda handler: BalancerLink(
                handler, handler,
                balancer_id=settings.balancer_id, boot_id=settings.boot_id,
                resume_window_s=settings.resume_window_s,
                heartbeat_interval_s=settings.heartbeat_interval_s,
                heartbeat_timeout_s=settings.heartbeat_timeout_s,
            ),
            welcome=self._welcomed, opened=self._opened, keeper=self._keeper,
            tick_s=min(TICK_S, settings.heartbeat_timeout_s / 2),
            stuck_s=settings.stall_window_s + STUCK_MARGIN_S,
        )  # fmt: skip
        await port.run(self.worker.entry.url, settings.lb_key, settings.timeout_s)
        self.worker.problem = port.broken_by or "the link closed"

    def _welcomed(self, port: LinkPort, message: Welcome) -> str | None:
        worker = self.worker
        try:
            self._refuse_duplicate(message.worker_id)
            functions: object = json.loads(message.functions)
        except (Refused, ValueError) as exc:
            return str(exc)
        worker.worker_id = message.worker_id
        worker.boot = BootId(message.boot_id)
        worker.software = message.software
        worker.learn_json(message.facts)
        if worker.announce(message.group, message.contract, functions):
            # While it has no port, so that the engine is told all at once: who it is now, with its
            # new boot id, and what it holds. Facts alone would pass the new process for the old one.
            self._keeper.known(worker)
        worker.link, worker.port, worker.problem = "cabrank", port, None
        self._linked_before = True
        return None

    def _opened(self, port: LinkPort) -> None:
        worker = self.worker
        order = self._keeper.order_for(worker)
        if order is not None and worker.report and worker.report.maintenance is not order:
            port.maintenance(order)  # desired state outlives a restart of the worker
        # Only now: the end of the first round lets recovered tasks go that this worker may hold.
        self._keeper.looked(worker)

    # Plain HTTP

    async def _serve_http(self) -> None:
        """Drive a plain worker for as long as its /health answers."""
        worker, settings = self.worker, self._settings
        port = self._http = self._http or HttpWorkerPort(
            worker, self._events, self._session, lb_key=settings.lb_key, auth_key=settings.auth_key,
            stream_credit=STREAM_CREDIT,
        )  # fmt: skip
        worker.link, worker.port, worker.problem = "legacy", port, None
        # A plain worker has no boot id; each time it is found it counts as the same one.
        worker.boot = BootId(f"http:{worker.id}")
        self._events.worker_up(port, worker.core_facts(), worker.report or SlotReport(), [])
        self._keeper.looked(worker)
        socket = SlotSocket(
            self._slot_url, settings.lb_key, self._hear,
            heartbeat_s=settings.heartbeat_interval_s, timeout_s=settings.heartbeat_timeout_s,
        )  # fmt: skip
        listening = asyncio.ensure_future(socket.run())
        try:
            while not self._done():
                await self._put_back(port)
                await asyncio.wait([listening], timeout=settings.interval_s)
                if listening.done():
                    listening.result()
                await self._look_again()
        finally:
            listening.cancel()
            # Its calls go on: they say themselves whether they broke.
            worker.port, worker.link = None, "none"
            self._events.link_lost(worker.id)
            await asyncio.gather(listening, return_exceptions=True)

    async def _look_again(self) -> None:
        if await self._look():
            raise Refused("it has got a link")
        if self.worker.report is not None:
            self._events.reported(self.worker.id, self.worker.report)
        self._keeper.noted(self.worker)

    async def _put_back(self, port: HttpWorkerPort) -> None:
        """Give the order again that the worker has forgotten: it was started anew, or was away."""
        worker = self.worker
        order = self._keeper.order_for(worker)
        if order is not None and worker.report and worker.report.maintenance is not order:
            await port.order(order)  # one into maintenance that fails is made again after a look

    def _slot_url(self) -> str:
        scheme, _, address = self.worker.entry.url.partition("://")
        host, _, own = address.rpartition(":")
        port = self.worker.websocket_port or own
        return f"{'wss' if scheme == 'https' else 'ws'}://{host}:{port}/"

    def _hear(self, told: dict[str, object]) -> None:
        """Take one message of the slot socket."""
        worker = self.worker
        worker.learn(told)
        report = report_of_view(told)
        if report is not None:
            worker.report = report
            self._events.reported(worker.id, report)
        self._keeper.noted(worker)

    async def _end_calls(self) -> None:
        if self._http is not None:
            port, self._http = self._http, None
            await port.close()


def backoff_s(failures: int, chance: Chance) -> float:
    """Return how long to wait after so many failures in a row."""
    bound = min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures, 10))
    return bound * (0.5 + 0.5 * chance.random())


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return str(exc)[:300] or type(exc).__name__
