"""The fleet: the workers that workers.json lists, each with its dialer, and the contract check.

Discovery of all workers runs at once, each in its own task, so one black-holed host delays nobody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from balancer.fleet import agreement
from balancer.fleet.dialer import Dialer, DialSettings
from balancer.fleet.http_worker import HttpWorkerPort
from balancer.fleet.link import LinkPort
from balancer.fleet.names import Names
from balancer.fleet.worker import FleetWorker
from shared.errors import Failure, failure
from shared.ids import WorkerId

if TYPE_CHECKING:
    from balancer.fleet.ports import FleetEvents
    from balancer.fleet.roster import Entry, RosterFile
    from balancer.store.ports import OrderStore
    from shared.clock import Chance, Clock
    from shared.log import Log

ORDER_TIMEOUT_S = 5.0


class Fleet:
    """Every listed worker, and the retired ones that still run something.

    Args:
        roster: the file that lists them.
        events: the engine.
        orders: what operators ordered.
        settings: how workers are reached.
        log: where fleet events go.
    """

    def __init__(
        self, roster: RosterFile, events: FleetEvents, orders: OrderStore, clock: Clock, chance: Chance,
        settings: DialSettings, log: Log,
    ) -> None:  # fmt: skip
        self.roster = roster
        self.round_ended = False
        self._events = events
        self._orders = orders
        self._clock = clock
        self._chance = chance
        self._settings = settings
        self._log = log
        self._names = Names()
        self._workers: dict[WorkerId, FleetWorker] = {}
        self._dialers: dict[WorkerId, asyncio.Task[None]] = {}
        self._unseen: set[WorkerId] = set()
        self._ordered: frozenset[str] = frozenset()
        self._status: dict[WorkerId, str] = {}
        self._session: aiohttp.ClientSession | None = None

    def workers(self) -> list[FleetWorker]:
        """Return the workers in the order of workers.json, retired ones last."""
        return sorted(self._workers.values(), key=lambda worker: (worker.retired, worker.order))

    def get(self, worker_id: WorkerId) -> FleetWorker | None:
        """Return a worker by `host:port`."""
        return self._workers.get(worker_id)

    async def run(self) -> None:
        """Follow the file until cancelled; closes every way at the end."""
        self._ordered = await self._orders.maintenance()
        connector = aiohttp.TCPConnector(limit=0)  # slots bound the calls, not the connector
        # No time-out of the session's own: a task's deadline is the only one (a hidden cap would end
        # long tasks, fault 14).
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None, connect=self._settings.timeout_s),
            auto_decompress=True,
        )  # fmt: skip
        try:
            while True:
                await self._look()
                await asyncio.sleep(self._settings.interval_s)
        finally:
            await self._close()

    async def maintain(self, worker_id: WorkerId, on: bool) -> Failure | None:
        """Order a worker into maintenance or back; the order is kept and outlives its restart."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return failure("worker_not_found", f"Worker '{worker_id}' is not listed")
        await self._orders.set_maintenance(worker_id, on)
        self._ordered = self._ordered | {worker_id} if on else self._ordered - {worker_id}
        if isinstance(worker.port, LinkPort):
            worker.port.maintenance(on)
            return None
        if isinstance(worker.port, HttpWorkerPort):
            return await self._maintain_http(worker, on)
        return None  # unreachable: put into force when it comes back

    def goodbye(self) -> None:
        """Say goodbye on every link: this balancer stops on purpose."""
        for worker in self._workers.values():
            if isinstance(worker.port, LinkPort):
                worker.port.goodbye("shutting_down", "the balancer stops")

    # Private

    async def _look(self) -> None:
        changed = self.roster.look()
        if changed:
            if self.roster.problem is not None:
                self._log.event(
                    "roster.broken", file=str(self.roster.path), reason=self.roster.problem
                )
            else:
                self._log.event("roster.reloaded", count=len(self.roster.entries))
        entries = await self._names.expand(self.roster.entries)
        self._retire_missing({entry.id: entry for entry in entries})
        for order, entry in enumerate(entries):
            self._list(order, entry)
        if not self.round_ended and not self._unseen:
            self._end_round()

    def _list(self, order: int, entry: Entry) -> None:
        worker = self._workers.get(entry.id)
        if worker is not None and not worker.retired:
            worker.order = order
            if worker.entry != entry:
                worker.entry = entry
                self._tell(worker)
            return
        if worker is not None:  # listed again while it drained
            worker.retired = False
            worker.entry, worker.order = entry, order
            self._events.reinstate(worker.id)
            self._agree()
            self._tell(worker)
        else:
            worker = self._workers[entry.id] = FleetWorker(entry, order)
        if not self.round_ended:
            self._unseen.add(entry.id)
        if entry.id not in self._dialers:
            self._dial(worker)

    def _dial(self, worker: FleetWorker) -> None:
        assert self._session is not None
        dialer = Dialer(
            worker, self._events, self._session, self._clock, self._chance, self._settings,
            duplicate=self._duplicate, known=self._known, looked=self._looked,
            ordered=lambda known: known.id in self._ordered,
        )  # fmt: skip
        running = asyncio.get_running_loop().create_task(dialer.run(), name=f"dial {worker.id}")
        self._dialers[worker.id] = running
        running.add_done_callback(lambda _: self._dialled(worker))

    def _dialled(self, worker: FleetWorker) -> None:
        self._dialers.pop(worker.id, None)
        if worker.retired and self._workers.get(worker.id) is worker:
            self._events.forget(worker.id)
            del self._workers[worker.id]
            self._status.pop(worker.id, None)

    def _retire_missing(self, listed: dict[WorkerId, Entry]) -> None:
        for worker in self._workers.values():
            if worker.id not in listed and not worker.retired:
                worker.retired = True
                self._events.retire(worker.id)
                self._agree()
                self._unseen.discard(worker.id)
            if worker.retired and self._events.running_on(worker.id) == 0:
                self._let_go(worker)

    def _let_go(self, worker: FleetWorker) -> None:
        if isinstance(worker.port, LinkPort):
            worker.port.goodbye("retired", "the worker is not listed any more")
        elif worker.id in self._dialers:
            self._dialers[worker.id].cancel()

    def _duplicate(self, worker: FleetWorker, worker_id: str) -> str | None:
        for other in self._workers.values():
            if other is not worker and other.worker_id == worker_id and other.port is not None:
                return other.id
        return None

    def _known(self, worker: FleetWorker) -> None:
        self._agree()
        self._note(worker)

    def _agree(self) -> None:
        for changed in agreement.check(self._workers.values()):
            if changed.differences:
                self._log.event(
                    "worker.invalid",
                    worker=changed.id,
                    reason="; ".join(changed.differences.values()),
                )
            self._tell(changed)

    def _tell(self, worker: FleetWorker) -> None:
        if worker.port is not None and worker.pool is not None:
            self._events.worker_facts(worker.core_facts())

    def _looked(self, worker: FleetWorker) -> None:
        self._note(worker)
        if worker.id in self._unseen:
            self._unseen.discard(worker.id)
            if not self._unseen and not self.round_ended:
                self._end_round()

    def _end_round(self) -> None:
        self.round_ended = True
        self._events.discovered()

    def _note(self, worker: FleetWorker) -> None:
        status = worker.status
        if self._status.get(worker.id) == status:
            return
        self._status[worker.id] = status
        if status == "ready":
            limit = worker.report.limit if worker.report else 0
            self._log.event(
                "worker.up",
                worker=worker.id,
                group=worker.group,
                contract=worker.contract,
                limit=limit,
            )
        elif status == "maintenance":
            self._log.event("worker.maintenance", worker=worker.id, on=True)
        else:
            self._log.event("worker.down", worker=worker.id, reason=worker.problem or "no link yet")

    async def _maintain_http(self, worker: FleetWorker, on: bool) -> Failure | None:
        assert self._session is not None
        headers = {
            "authorization": worker.entry.auth_key or self._settings.auth_key,
            "x-lb-auth": self._settings.lb_key,
        }
        limit = aiohttp.ClientTimeout(total=ORDER_TIMEOUT_S)
        url = f"{worker.entry.url}/{'off' if on else 'on'}"
        try:
            async with self._session.post(url, headers=headers, timeout=limit) as reply:
                if reply.status == 200:
                    return None
                return failure("worker_unreachable", f"Worker answered {reply.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            return failure(
                "worker_unreachable", f"Worker could not be reached: {type(exc).__name__}"
            )

    async def _close(self) -> None:
        dialers = list(self._dialers.values())
        for dialer in dialers:
            dialer.cancel()
        await asyncio.gather(*dialers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
