"""The worker's composition root: settings in, a serving process out.

Start: find functions, services and tags, start the services, listen. Stop: take nothing new, let
what runs and waits here end within TERMINATION_GRACE, say Goodbye on every link, stop what is left,
close. A second signal ends it now. When every slot is held by code that cannot be ended, the worker
stops by itself and asks to be started anew (`RESTART`).
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING

from shared.client.webhook_sender import WebhookSender
from shared.edge.codec import Keys
from shared.edge.fast_lane import FastLane
from shared.edge.http_shell import SERVER, EdgeRunner
from shared.errors import ConfigError
from shared.log import Log, TaskLog, setup_logging
from shared.system import SystemClock, SystemIds, system_chance
from worker.api.fast import FastDesk
from worker.api.server import Parts, build
from worker.api.status import WorkerStatus
from worker.authoring.discovery import Discovered, discover
from worker.config import KEYS_DIRECTORY
from worker.engine import EngineSettings, WorkerEngine
from worker.facts import WorkerFacts
from worker.journal import Journal
from worker.legacy import LegacySocket
from worker.link import LinkServer
from worker.modes.webhook import WebhookMode
from worker.peers import Identity, Peers
from worker.processes import ProcessPool
from worker.runner import Runner
from worker.services import ServiceSupervisor, TagRefresher
from worker.system_load import SystemLoad

if TYPE_CHECKING:
    from shared.clock import Clock
    from shared.log import LogRing
    from worker.config import WorkerSettings

SOFTWARE = version("cabrank")
RESTART = 75  # what `serve` returns when the process should be replaced by a fresh one
SECOND_SIGNAL = 130  # what shells show for a process that was interrupted
DRAIN_POLL_S = 0.05
END_S = 2.0  # what cancelled code gets to clean up, once TERMINATION_GRACE is over


class Worker:
    """Everything that one worker is made of; made by `start`, ended by `drain` and `stop`.

    Args:
        settings: with keys.
        found: the functions, services and tags to host.
        ring: the last lines of the log.
        clock: tells the time.
    """

    def __init__(
        self, settings: WorkerSettings, found: Discovered, ring: LogRing, clock: Clock
    ) -> None:
        self.settings = settings
        self.url = ""
        self.exhausted = asyncio.Event()
        self._found = found
        self._ring = ring
        self._clock = clock
        self._log = Log("worker")
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Start services, listen.

        Raises:
            ConfigError: the port cannot be used.
        """
        listener = _bound_socket(self.settings.host, self.settings.port)
        self._stack.callback(listener.close)
        port = int(listener.getsockname()[1])
        ids, chance = SystemIds(), system_chance()
        self.engine = engine = self._engine(ids)
        facts = WorkerFacts(SystemLoad(self._clock))
        services = ServiceSupervisor(
            self._found.services.values(), facts, engine.set_services_down, chance
        )
        services.start()
        self._stack.push_async_callback(services.close)
        tags = TagRefresher(self._found.tags, facts)
        await tags.start()
        self._stack.push_async_callback(tags.close)
        identity = Identity(
            worker_id=self.settings.id_on(port), boot_id=ids.boot, software=f"cabrank {SOFTWARE}",
            group=self.settings.group, contract=self.settings.contract,
        )  # fmt: skip
        self._peers = Peers(engine, identity, facts)
        self.status = WorkerStatus(engine, facts, identity, port=port, version=SOFTWARE)
        engine.on_exhausted(self.exhausted.set)
        await self._listen(listener, ids)
        engine.start()
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        self.url = f"http://{host}:{port}"
        self._log.event("process.started", software=f"cabrank worker {SOFTWARE}", url=self.url)

    async def drain(self) -> None:
        """Take nothing new and wait until the rest is over, or TERMINATION_GRACE is."""
        self.engine.set_maintenance(True)
        await self.drained(self.settings.termination_grace / 1000)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is under way any more, webhooks included; False when that is late.

        Code that cannot be ended is not waited for.
        """
        until_s = self._clock.monotonic() + timeout_s
        while not self._is_idle():
            if self._clock.monotonic() >= until_s:
                return False
            await asyncio.sleep(DRAIN_POLL_S)
        return True

    async def stop(self) -> None:
        """Say Goodbye and close everything, in the reverse order of `start`; also when that failed."""
        await self._stack.aclose()

    async def _say_goodbye(self) -> None:
        """End the links before what still runs is stopped, so that no balancer takes that for a result."""
        self._peers.close()
        await asyncio.gather(self._link.close(), self._legacy.close())

    def _is_idle(self) -> bool:
        over = self.engine.idle or self._is_stuck()
        return over and not self._webhooks.counts.pending

    def _is_stuck(self) -> bool:
        """Tell whether only code is left that cannot be ended, and what waits for its slots."""
        slots = self.engine.slots()
        nothing_runs = slots.stuck == slots.used > 0
        nothing_waits = not slots.queue or slots.stuck == slots.limit
        return nothing_runs and nothing_waits and self._peers.idle()

    def _engine(self, ids: SystemIds) -> WorkerEngine:
        settings, clock = self.settings, self._clock
        isolated = [each for each in self._found.functions if each.config.isolation == "process"]
        processes = ProcessPool(clock, isolated)
        processes.prepare()
        values = EngineSettings(
            limit=settings.slots,
            default_timeout_s=settings.default_timeout / 1000,
            task_timeout_s=settings.task_timeout / 1000,
            max_queue=settings.max_queue,
            max_queue_bytes=settings.max_queue_bytes,
            shutdown_grace_s=END_S,
        )
        runner = Runner(clock, processes)
        self._stack.push_async_callback(runner.close)
        return WorkerEngine(
            values, self._found.functions, runner, clock, ids, system_chance(),
            Journal(self._ring),
        )  # fmt: skip

    async def _listen(self, listener: socket.socket, ids: SystemIds) -> None:
        settings, clock = self.settings, self._clock
        keys = Keys(settings.auth_key or "", settings.lb_auth_key or "")
        policy = settings.webhook_policy
        self._webhooks = WebhookMode(
            self.engine, WebhookSender(policy, settings.webhook_rules, clock=clock), policy,
            clock=clock, chance=system_chance(), limit=settings.slots + settings.max_queue,
        )  # fmt: skip
        self._link = LinkServer(self._peers, clock, keys.lb_key)
        self._legacy = LegacySocket(keys.lb_key, self.status)
        parts = Parts(
            settings=settings, keys=keys, engine=self.engine, webhooks=self._webhooks,
            status=self.status, ring=self._ring, task_log=TaskLog(self._ring), ids=ids,
            link=self._link, legacy=self._legacy, drained=self.drained,
        )  # fmt: skip
        runner = EdgeRunner(build(parts), ids, shutdown_timeout_s=1.0)
        await runner.setup()
        desk = FastDesk(
            self.engine, self._webhooks, keys, ids, parts.task_log, contract=settings.contract
        )
        assert runner.server is not None
        self.lane = lane = FastLane(
            desk, runner.server, ids, clock,
            body_limit=settings.request_body_limit, software=SERVER,
        )  # fmt: skip
        for close in (
            runner.cleanup,
            lane.close,
            self._webhooks.close,
            self.engine.close,
            self._say_goodbye,
        ):
            self._stack.push_async_callback(close)
        await (lane if settings.fast_lane else runner).listen(listener)


async def serve(settings: WorkerSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code, or RESTART.

    Raises:
        ConfigError: a file of functions cannot be loaded, or the keys or the port cannot be used.
    """
    clock = SystemClock()
    ring = setup_logging(clock, level=settings.log_level, max_lines=settings.max_logs)
    generated = settings.auth_key is None or settings.lb_auth_key is None
    worker = Worker(settings.with_keys(), _discovered(settings), ring, clock)
    # One of our own, because the loop's is joined at the end, however long its threads take.
    executor = ThreadPoolExecutor(thread_name_prefix="loop")
    asyncio.get_running_loop().set_default_executor(executor)
    told = _stop_signals()
    log = Log("worker")
    try:
        await worker.start()
        _spare_collector()
        print(f"listening on {worker.url}{_kept(generated)}", flush=True)
        reason = await _first(told, worker.exhausted)
        log.event("process.stopping", reason=reason)
        await worker.drain()
    finally:
        await worker.stop()
        executor.shutdown(wait=False, cancel_futures=True)
    log.event("process.stopped")
    return 0 if told.is_set() else RESTART


def _spare_collector() -> None:
    """Keep the collector from what the start has made: it stays, and is most of what there is.

    A full collection, for which every slot waits, then takes 2 ms in place of 95. Attempts are freed
    by counting their references, so looking for cycles less often lets nothing pile up.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _discovered(settings: WorkerSettings) -> Discovered:
    found = discover(settings.functions, keep_going=settings.keep_going)
    log = Log("worker")
    for failed in found.failures:
        log.event("function.broken", file=failed.file, reason=str(failed))
    for function in found.functions:
        log.event("function.loaded", function=function.name)
    return found


def _stop_signals() -> asyncio.Event:
    """Return what is set by the first signal; the second one ends the process now."""
    told = asyncio.Event()

    def stop() -> None:
        if told.is_set():
            os._exit(SECOND_SIGNAL)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return told


async def _first(told: asyncio.Event, exhausted: asyncio.Event) -> str:
    """Wait until the process is told to stop or has no slot left; return which."""
    waits = [asyncio.create_task(each.wait()) for each in (told, exhausted)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return "signal" if told.is_set() else "every slot is held by code that cannot be ended"


def _kept(generated: bool) -> str:
    return f" (keys in {KEYS_DIRECTORY}/)" if generated else ""


def _bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to the worker's address; nobody is accepted before it listens.

    Raises:
        ConfigError: the address is taken or not this machine's.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as exc:
        raise ConfigError(f"PORT={port}: cannot listen on {host}: {exc.strerror or exc}") from exc
    return listener
