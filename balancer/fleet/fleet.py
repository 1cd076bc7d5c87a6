"""The fleet: the workers that workers.json lists, each with its dialer, and the contract check.

Discovery of all workers runs at once, each in its own task, so one black-holed host delays nobody.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from balancer.fleet import agreement
from balancer.fleet.dialer import Dialer, DialSettings
from balancer.fleet.http_worker import HttpWorkerPort, worker_session
from balancer.fleet.link import LinkPort
from balancer.fleet.names import Names, Resolve, addresses_of
from balancer.fleet.worker import FleetWorker
from shared.errors import Failure, failure

if TYPE_CHECKING:
    import aiohttp

    from balancer.fleet.ports import FleetEvents
    from balancer.fleet.roster import Entry, RosterFile
    from balancer.store.ports import OrderStore
    from shared.clock import Chance, Clock
    from shared.ids import WorkerId
    from shared.log import Log

PART_S = 1.0  # what a goodbye may take to leave, all links at once


class Fleet:
    """Every listed worker, and the retired ones that still run something.

    Args:
        roster: the file that lists them.
        events: the engine.
        orders: what operators ordered.
        settings: how workers are reached.
        log: where fleet events go.
        resolve: asks for the addresses of a name.

    Attributes:
        round_ended: every listed worker has answered or failed once.
        parting: the balancer stops.
    """

    def __init__(
        self, roster: RosterFile, events: FleetEvents, orders: OrderStore, clock: Clock, chance: Chance,
        settings: DialSettings, log: Log, resolve: Resolve = addresses_of,
    ) -> None:  # fmt: skip
        self.roster = roster
        self.round_ended = False
        self.parting = False
        self._events = events
        self._orders = orders
        self._clock = clock
        self._chance = chance
        self._settings = settings
        self._log = log
        self._woken = asyncio.Event()
        self._names = Names(self._woken.set, resolve)
        self._workers: dict[WorkerId, FleetWorker] = {}
        self._dialers: dict[WorkerId, asyncio.Task[None]] = {}
        self._unseen: set[WorkerId] = set()
        self._all_listed = False  # every name of the file stands for workers, or has failed
        self._ordered: frozenset[str] = frozenset()
        self._owed: set[str] = set()  # ordered out of maintenance while they could not be reached
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
        self._session = worker_session(self._settings.timeout_s)
        try:
            while True:
                self._look()
                self._names.ask(self.roster.entries)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.interval_s):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            await self._close()

    async def maintain(self, worker_id: WorkerId, on: bool) -> Failure | None:
        """Order a worker into maintenance or back; the order is kept and outlives its restart."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return failure("worker_not_found", f"Worker '{worker_id}' is not listed")
        await self._orders.set_maintenance(worker_id, on)
        self._ordered = self._ordered | {worker_id} if on else self._ordered - {worker_id}
        self._owed.discard(worker_id)
        if isinstance(worker.port, LinkPort):
            worker.port.maintenance(on)
        elif isinstance(worker.port, HttpWorkerPort):
            return await worker.port.order(on)
        elif not on:  # unreachable: put into force when it comes back
            self._owed.add(worker_id)
        return None

    async def part(self) -> None:
        """Say goodbye on every link: this balancer stops on purpose."""
        self.parting = True
        for worker in self._workers.values():
            self._let_go(worker, "shutting_down", "the balancer stops")
        if self._dialers:
            await asyncio.wait(self._dialers.values(), timeout=PART_S)

    # The dialers' keeper (balancer.fleet.ports.Keeper)

    def duplicate(self, worker: FleetWorker, worker_id: str) -> str | None:
        """Return the entry by which the worker of this id is reached already, or None.

        Of two that are dialled at one time the first of the file has it: each link kills the other,
        so that one must not even be tried.
        """
        for other in self._workers.values():
            if other is worker or other.worker_id != worker_id:
                continue
            first = other.found and not other.retired and other.order < worker.order
            if other.port is not None or first:
                return other.id
        return None

    def known(self, worker: FleetWorker) -> None:
        """Compare what a worker hosts with the others of its group and contract."""
        self._agree()
        self._tell(worker)
        self.noted(worker)

    def noted(self, worker: FleetWorker) -> None:
        """Log a status that has changed."""
        status, before = worker.status, self._status.get(worker.id)
        if status == before or (before is None and status == "unreachable" and not worker.problem):
            return  # nothing new, or not tried yet
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
            reason = worker.problem or "nothing comes from it"
            self._log.event("worker.down", worker=worker.id, reason=reason)

    def looked(self, worker: FleetWorker) -> None:
        """Note that a look has answered or failed: the first round ends with the last one."""
        self.noted(worker)
        self._unseen.discard(worker.id)
        self._end_round()

    def order_for(self, worker: FleetWorker) -> bool | None:
        """Return the order that a worker has to be given now that it is back."""
        if worker.id in self._ordered:
            return True
        if worker.id in self._owed:
            self._owed.discard(worker.id)
            return False
        return None

    def failed(self, worker: FleetWorker, exc: Exception) -> None:
        """Log a bug of ours."""
        self._log.exception(f"dialling {worker.id} failed", exc)

    # Private

    def _look(self) -> None:
        if self.parting:
            return
        if self.roster.look():
            problem = self.roster.problem
            if problem is not None:
                self._log.event("roster.broken", file=str(self.roster.path), problem=problem)
            else:
                self._log.event("roster.reloaded", workers=len(self.roster.entries))
        entries = self._names.expand(self.roster.entries)
        self._retire_missing({entry.id for entry in entries})
        self._all_listed = self._names.asked(self.roster.entries)
        moved = [self._list(order, entry) for order, entry in enumerate(entries)]
        if any(moved):
            self._agree()
        self._end_round()

    def _list(self, order: int, entry: Entry) -> bool:
        """Take an entry; tell whether its worker has another place than before."""
        worker = self._workers.get(entry.id)
        moved = False
        if worker is None:
            worker = self._workers[entry.id] = FleetWorker(entry, order)
            if not self.round_ended:
                self._unseen.add(entry.id)
        else:
            moved = worker.order != order or worker.retired
            changed = moved or worker.entry != entry
            worker.entry, worker.order = entry, order
            if worker.retired:  # listed again while it drained
                worker.retired = False
                self._events.reinstate(worker.id)
            if changed:
                self._tell(worker)
        if entry.id not in self._dialers:
            self._dial(worker)
        return moved

    def _dial(self, worker: FleetWorker) -> None:
        assert self._session is not None
        dialer = Dialer(
            worker, self._events, self, self._session, self._clock, self._chance, self._settings
        )
        running = asyncio.get_running_loop().create_task(dialer.run(), name=f"dial {worker.id}")
        self._dialers[worker.id] = running
        running.add_done_callback(lambda ended: self._dialled(worker, ended))

    def _dialled(self, worker: FleetWorker, ended: asyncio.Task[None]) -> None:
        self._dialers.pop(worker.id, None)
        exc = None if ended.cancelled() else ended.exception()
        if isinstance(exc, Exception):  # the next look at the file dials again
            self.failed(worker, exc)
        if worker.retired and self._workers.get(worker.id) is worker:
            self._events.forget(worker.id)
            del self._workers[worker.id]
            self._status.pop(worker.id, None)

    def _retire_missing(self, listed: set[WorkerId]) -> None:
        for worker in list(self._workers.values()):
            if worker.id not in listed and not worker.retired:
                worker.retired = True
                self._events.retire(worker.id)
                self._agree()
                self._unseen.discard(worker.id)
            if worker.retired and self._events.running_on(worker.id) == 0:
                self._let_go(worker, "retired", "the worker is not listed any more")

    def _let_go(self, worker: FleetWorker, code: str, message: str) -> None:
        if isinstance(worker.port, LinkPort):
            worker.port.goodbye(code, message)
        elif worker.id in self._dialers:
            self._dialers[worker.id].cancel()

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

    def _end_round(self) -> None:
        if self._all_listed and not self._unseen and not self.round_ended:
            self.round_ended = True
            self._events.discovered()

    async def _close(self) -> None:
        dialers = list(self._dialers.values())
        for dialer in dialers:
            dialer.cancel()
        await asyncio.gather(*dialers, self._names.close(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()
