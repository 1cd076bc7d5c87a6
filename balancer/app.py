"""The balancer's composition root: settings in, a serving process out.

Start: lock and open the store, take over its unfinished tasks, listen, then dial the fleet. Stop:
take nothing new, let calls under way end within TERMINATION_GRACE, say goodbye on every link (workers
keep what is durable), commit, close. A second signal ends it now.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING

from balancer.api.acceptance import Acceptance
from balancer.api.fast import FastDesk
from balancer.api.server import Apis, build
from balancer.api.views import TaskViews
from balancer.api.waiting import Waiting
from balancer.config import KEYS_DIRECTORY
from balancer.core.settings import Settings
from balancer.delivery.lean_sender import LeanSender
from balancer.delivery.once import Once
from balancer.delivery.streams import Streams
from balancer.delivery.webhooks import WebhookDeliverer
from balancer.engine import Engine
from balancer.fleet.dialer import DialSettings
from balancer.fleet.fleet import Fleet
from balancer.fleet.names import Resolve, addresses_of
from balancer.fleet.roster import RosterFile
from balancer.maintenance.dead_pruner import DeadPruner
from balancer.maintenance.once_pruner import OncePruner
from balancer.maintenance.pruner import Pruner
from balancer.store.open import open_store
from balancer.store.sealing import Sealer
from shared.client.webhook_sender import WebhookSender
from shared.edge.fast_lane import FastLane
from shared.edge.http_shell import SERVER, EdgeRunner
from shared.errors import ConfigError, Failure, failure
from shared.log import Log, TaskLog, setup_logging
from shared.system import SystemClock, SystemIds, system_chance

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from balancer.config import BalancerSettings
    from balancer.store.ports import OutboxRow, Store
    from shared.clock import Clock
    from shared.log_ring import LogRing

SOFTWARE = version("cabrank")
# The store's writer thread waits for the interpreter's lock while the event loop is busy; at the
# default of 5 ms a commit under load takes tens of milliseconds, most of them in that queue.
SWITCH_S = 0.0005
DRAIN_POLL_S = 0.05


class Balancer:
    """Everything that one balancer is made of; made by `start`, ended by `stop`."""

    def __init__(
        self,
        settings: BalancerSettings,
        ring: LogRing,
        clock: Clock,
        resolve: Resolve = addresses_of,
    ) -> None:
        self._resolve = resolve
        self.settings = settings
        self.url = ""
        self._ring = ring
        self._clock = clock
        self._ids = SystemIds()
        self._chance = system_chance()
        self._log = Log("balancer")
        self._stack = AsyncExitStack()
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open, take over, listen, dial.

        Raises:
            ConfigError: the store, the port or a setting cannot be used.
        """
        store = await open_store(self.settings.store, clock=self._clock)
        self._stack.push_async_callback(store.close)
        sender, deliverer = self._webhooks(store)
        store.outbox.fresh = deliverer.take
        self.engine = self._engine(store)
        self._stack.push_async_callback(self.engine.close)
        recovered = await self.engine.recover()
        if recovered:
            self._log.event("store.recovered", count=recovered)
        listener = bound_socket(self.settings.host, self.settings.port)
        self._stack.callback(listener.close)
        port = int(listener.getsockname()[1])
        self.fleet = self._fleet(store, port)
        await self._listen(listener, store, sender)
        deliverer.start()
        self._stack.push_async_callback(deliverer.stop)
        for loop in (self.engine.run(), self.fleet.run(), *self._pruning(store)):
            self._keep(loop)
        self._stack.push_async_callback(self._end_loops)
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        self.url = f"http://{host}:{port}"
        self._log.event("process.started", software=f"cabrank balancer {SOFTWARE}", url=self.url)

    def _pruning(self, store: Store) -> Iterator[Coroutine[object, object, None]]:
        """Return what forgets what need not be kept, each a loop; keys first: they keep tasks."""
        settings, clock = self.settings, self._clock
        yield OncePruner(store.once, clock=clock, keep=settings.idempotency_keys).run()
        yield DeadPruner(
            store.dead, clock=clock, retention_s=settings.dead_retention, keep=settings.max_dead
        ).run()
        yield Pruner(
            store.tasks,
            clock=clock,
            retention_s=settings.result_retention,
            keep=settings.max_results,
        ).run()

    def _webhooks(self, store: Store) -> tuple[WebhookSender, WebhookDeliverer]:
        policy = self.settings.webhook_policy
        sender = WebhookSender(policy, self.settings.webhook_rules, clock=self._clock)
        self._stack.push_async_callback(sender.close)
        lean = LeanSender(policy, self.settings.webhook_rules, clock=self._clock, other=sender)
        self._stack.push_async_callback(lean.close)
        deliverer = WebhookDeliverer(
            store.outbox,
            lean,
            policy,
            clock=self._clock,
            chance=self._chance,
            observe=self._observed,
        )
        return sender, deliverer

    def _engine(self, store: Store) -> Engine:
        settings = self.settings
        wait_ms = settings.queue_timeout
        return Engine(
            core_settings(settings), clock=self._clock, ids=self._ids, chance=self._chance, store=store,
            sealer=Sealer(settings.lb_auth_key or ""), log=TaskLog(self._ring),
            task_timeout_s=settings.task_timeout / 1000,
            queue_timeout_s=None if wait_ms is None else wait_ms / 1000,
            max_durable=settings.max_durable,
        )  # fmt: skip

    def _fleet(self, store: Store, port: int) -> Fleet:
        roster = RosterFile(self.settings.workers_file, dict(os.environ))
        dialling = dial_settings(self.settings, self._ids.boot, port)
        return Fleet(
            roster, self.engine, store.orders, self._clock, self._chance, dialling, Log("fleet"),
            self._resolve,
        )  # fmt: skip

    async def _listen(self, listener: socket.socket, store: Store, sender: WebhookSender) -> None:
        async def admit(url: str) -> Failure | None:
            reason = await sender.refusal(url)
            text = f"Invalid webhook.url: {reason}"
            return None if reason is None else failure("invalid_webhook", text)

        once = Once(store.once, self._clock, self.settings.idempotency_retention)
        self._stack.push_async_callback(once.close)
        waiting = Waiting(self.engine, TaskViews(self.engine, store, self._clock))
        acceptance = Acceptance(self.engine, once, waiting, admit)
        apis = Apis(
            engine=self.engine, fleet=self.fleet, store=store, streams=Streams(), ring=self._ring,
            settings=self.settings, version=SOFTWARE, ids=self._ids, clock=self._clock,
            acceptance=acceptance, waiting=waiting,
        )  # fmt: skip
        self.app = build(apis)
        runner = EdgeRunner(self.app, self._ids, shutdown_timeout_s=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        desk = FastDesk(self.engine, acceptance, self.settings.lb_auth_key or "")
        self.lane = lane = FastLane(
            desk, runner.server, self._ids, self._clock,
            body_limit=self.settings.request_body_limit, software=SERVER,
        )  # fmt: skip
        self._stack.push_async_callback(lane.close)
        await (lane if self.settings.fast_lane else runner).listen(listener)

    async def drain(self) -> None:
        """Take nothing new and wait until every call has ended, or TERMINATION_GRACE is over."""
        self.engine.stop_taking()
        left_s = self.settings.termination_grace / 1000
        while not self.engine.idle and left_s > 0:
            await asyncio.sleep(DRAIN_POLL_S)
            left_s -= DRAIN_POLL_S

    async def stop(self) -> None:
        """Let those go who wait, then close everything, in the reverse order of `start`."""
        self.engine.waiters.close()
        await self.fleet.part()
        await self._stack.aclose()

    async def failed(self) -> None:
        """Close what `start` had opened when it failed."""
        await self._stack.aclose()

    def _keep(self, loop: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(loop)
        task.add_done_callback(self._fell)
        self._loops.append(task)

    def _fell(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            # A loop that ends by itself is a bug of ours; a process without it would look alive.
            self._log.exception("a loop of the balancer ended", task.exception())
            os.kill(os.getpid(), signal.SIGTERM)

    async def _end_loops(self) -> None:
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def _observed(self, row: OutboxRow, event: str, error: str) -> None:
        action = {"delivered": "webhook.delivered", "postponed": "webhook.postponed"}.get(
            event, "webhook.dead_lettered"
        )
        fields: dict[str, object] = {
            "webhook_id": row.webhook_id, "attempt": row.attempts + 1, "reason": error,
            "correlation_id": row.correlation_id,
        }  # fmt: skip
        if event == "delivered":  # one for every task: as cheap as the lines of tasks
            self._ring.keep_task(action, row.task_id, fields)
        else:
            self._log.event(action, task_id=row.task_id, **fields)


async def serve(settings: BalancerSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        ConfigError: the store, the port or a setting cannot be used.
    """
    sys.setswitchinterval(SWITCH_S)
    clock = SystemClock()
    ring = setup_logging(clock, level=settings.log_level, max_lines=settings.max_logs)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            os._exit(130)  # the second signal: now
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    balancer = Balancer(settings, ring, clock)
    try:
        await balancer.start()
    except BaseException:
        await balancer.failed()
        raise
    # What is here now stays: the collector need not look at it again with every full collection.
    gc.collect()
    gc.freeze()
    print(f"listening on {balancer.url}{place_of_keys(settings)}", flush=True)
    await stopping.wait()
    log = Log("balancer")
    log.event("process.stopping", reason="signal")
    await balancer.drain()
    await balancer.stop()
    log.event("process.stopped")
    return 0


def place_of_keys(settings: BalancerSettings) -> str:
    """Say where the keys are that were generated; nothing when none of them is in use."""
    generated = {file.read_text("utf-8").strip() for file in KEYS_DIRECTORY.glob("*_key")}
    used = generated & {settings.auth_key, settings.lb_auth_key}
    return f" (keys in {KEYS_DIRECTORY}/)" if used else ""


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket's address, taken before anything is dialled.

    Raises:
        ConfigError: the address is taken or not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as exc:
        raise ConfigError(f"PORT={port}: cannot listen on {host}: {exc.strerror or exc}") from exc
    return listener


def core_settings(settings: BalancerSettings) -> Settings:
    """Return the scheduler's settings."""
    return Settings(
        max_queue=settings.max_queue,
        max_queue_bytes=settings.max_queue_bytes,
        task_attempts=settings.task_attempts,
        no_worker_wait_s=settings.no_worker_wait / 1000,
        resume_window_s=settings.resume_window / 1000,
        stall_window_s=settings.stall_window / 1000,
    )


def dial_settings(settings: BalancerSettings, boot_id: str, port: int) -> DialSettings:
    """Return how workers are reached."""
    return DialSettings(
        balancer_id=f"{socket.gethostname()}:{port}",
        boot_id=boot_id,
        lb_key=settings.lb_auth_key or "",
        auth_key=settings.auth_key or "",
        interval_s=settings.worker_discovery_interval / 1000,
        timeout_s=settings.worker_discovery_timeout / 1000,
        heartbeat_interval_s=settings.ws_heartbeat_interval / 1000,
        heartbeat_timeout_s=settings.ws_heartbeat_timeout / 1000,
        resume_window_s=settings.resume_window / 1000,
        stall_window_s=settings.stall_window / 1000,
    )
