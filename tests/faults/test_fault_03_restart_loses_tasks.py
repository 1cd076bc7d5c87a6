"""Fault 3: accepted tasks are lost when the balancer restarts."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from balancer.app import Balancer
from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.in_process_balancer import (
    RunningBalancer,
    client_session,
    crash,
    start_balancer,
)
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.task_functions import HeldWork
from tests.fakes.tcp_proxy import TcpProxy, tcp_proxy
from tests.fakes.waiting import wait_until
from worker.app import Worker


class Site:
    """One worker behind a network that can be cut, a receiver, and balancers one after the other.

    Attributes:
        work: the worker's functions.
    """

    def __init__(self, directory: Path, *, slots: int = 1) -> None:
        self.work = HeldWork()
        self._directory = directory
        self._slots = slots
        self._stack = AsyncExitStack()
        self._balancer: Balancer | None = None
        self.worker: Worker
        self.network: TcpProxy
        self.receiver: HookReceiver
        self.client: RunningBalancer
        self.database = directory / "tasks.db"

    async def __aenter__(self) -> Site:
        """Start everything but a balancer."""
        enter = self._stack.enter_async_context
        self.receiver = await enter(hook_receiver())
        self.worker = await enter(running_worker(*self.work.functions(), slots=self._slots))
        self.network = await enter(tcp_proxy(self.worker.url))
        self._session = await enter(client_session())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything."""
        if self._balancer is not None:
            await self._balancer.stop()
        await self._stack.aclose()

    async def start(self, *, linked: bool = True) -> None:
        """Start a balancer on what the last one left, at its address."""
        self._balancer = await start_balancer(
            self._directory, self.network.url, store_url=f"sqlite:////{self.database}",
            port=0 if self._balancer is None else int(self._balancer.url.rpartition(":")[2]),
        )  # fmt: skip
        self.client = RunningBalancer(
            self._balancer, self._session, self._balancer.settings.workers_file
        )
        if linked:
            await self.client.linked()

    async def stop(self) -> None:
        """Stop the balancer in an orderly way."""
        assert self._balancer is not None
        await self._balancer.stop()

    async def kill(self) -> None:
        """Let the balancer die in the middle of whatever it does."""
        assert self._balancer is not None
        self.database = await crash(self._balancer, self.database, self.network)

    async def submit(self, label: str) -> str:
        """Submit a durable task whose webhook goes to the receiver."""
        reply = await self.client.task(
            "hold", {"label": label}, mode="webhook",
            webhook={"url": self.receiver.url(f"/{label}")},
        )  # fmt: skip
        assert reply.status == 202
        return str(reply.json["task_id"])

    def delivered(self) -> list[tuple[str, bytes]]:
        """Return the path and the body of each webhook that came."""
        return sorted((got.path, got.body) for got in self.receiver.received)


async def test_what_waited_runs_after_a_restart(tmp_path: Path) -> None:
    """Tasks that waited behind busy slots are taken up again, each is run and delivered once."""
    async with Site(tmp_path) as site:
        await site.start()
        labels = ["a", "b", "c", "d"]
        ids = [await site.submit(label) for label in labels]
        await wait_until(lambda: site.work.begun == ["a"], "the first one runs, the others wait")
        await site.stop()
        await site.start()
        shown = [(await site.client.shown(task_id))["status"] for task_id in ids]
        assert shown == ["running", "queued", "queued", "queued"]
        site.work.let_go()
        await wait_until(lambda: len(site.receiver.received) == 4, "every webhook came")
        assert site.work.begun == labels
        assert site.delivered() == [(f"/{label}", f'"{label}"'.encode()) for label in labels]


async def test_what_ran_when_the_balancer_was_killed_is_adopted(tmp_path: Path) -> None:
    """A running attempt goes on under the next balancer: it is not run again, its result counts."""
    async with Site(tmp_path) as site:
        await site.start()
        running, waiting = await site.submit("runs"), await site.submit("waits")
        await wait_until(lambda: site.work.begun == ["runs"], "one runs")
        await site.kill()
        site.network.heal()
        await site.start()
        assert (await site.client.shown(running))["status"] == "running"
        assert (await site.client.shown(waiting))["status"] == "queued"
        site.work.let_go()
        for task_id, label in ((running, "runs"), (waiting, "waits")):
            ended = await site.client.ended(task_id)
            assert (ended["status"], ended["result"]) == ("succeeded", label)
        await wait_until(lambda: len(site.receiver.received) == 2, "both webhooks came")
        assert site.work.begun == ["runs", "waits"]
        assert site.delivered() == [("/runs", b'"runs"'), ("/waits", b'"waits"')]


async def test_what_ended_while_nobody_balanced_is_delivered_once(tmp_path: Path) -> None:
    """A worker keeps a result that nobody has acknowledged, and hands it to the next balancer."""
    async with Site(tmp_path) as site:
        await site.start()
        task_id = await site.submit("x")
        await wait_until(lambda: site.work.begun == ["x"], "it runs")
        await site.kill()
        site.work.let_go()
        await wait_until(lambda: site.work.ended == ["x"], "it ends with nobody there")
        site.network.heal()
        await site.start()
        ended = await site.client.ended(task_id)
        assert (ended["status"], ended["result"]) == ("succeeded", "x")
        await wait_until(lambda: site.receiver.received, "the webhook came")
        await site.stop()
        await site.start()
        assert site.work.begun == ["x"]
        assert site.delivered() == [("/x", b'"x"')]


async def test_a_task_accepted_in_the_last_moment_is_there(tmp_path: Path) -> None:
    """Whoever was told 202 finds the task after a kill, before any worker is there too."""
    async with Site(tmp_path, slots=2) as site:
        site.network.freeze()  # no worker has answered yet
        await site.start(linked=False)
        ids = [await site.submit(label) for label in ("a", "b", "c")]
        await site.kill()
        site.network.heal()
        site.work.let_go()
        await site.start()
        for task_id in ids:
            assert (await site.client.ended(task_id))["status"] == "succeeded"
        assert sorted(site.work.begun) == ["a", "b", "c"]


async def test_a_webhook_that_was_under_way_is_made_again_under_its_id(tmp_path: Path) -> None:
    """A try that the kill interrupted is made again: at least once, with the same webhook-id."""
    async with Site(tmp_path) as site:
        site.receiver.script = [503]
        site.work.let_go()
        await site.start()
        task_id = await site.submit("x")
        await wait_until(lambda: site.receiver.received, "the first try failed")
        await site.kill()
        site.network.heal()
        await site.start()
        await wait_until(lambda: len(site.receiver.received) >= 2, "it was tried again")
        ids = {got.headers["webhook-id"] for got in site.receiver.received}
        assert ids == {f"msg_{task_id}"}


async def test_maintenance_ordered_before_the_restart_is_still_in_force(tmp_path: Path) -> None:
    """An order is kept with the tasks."""
    async with Site(tmp_path) as site:
        await site.start()
        worker = site.client.balancer.fleet.workers()[0].id
        reply = await site.client.ask("POST", f"/workers/{worker}/off")
        assert reply.status == 200
        await wait_until(lambda: site.worker.engine.slots().maintenance, "the worker obeys")
        await site.kill()
        site.worker.engine.set_maintenance(False)  # as a restart of the worker would
        site.network.heal()
        await site.start(linked=False)
        await wait_until(lambda: site.worker.engine.slots().maintenance, "it was ordered again")
        headers = {"Authorization": LB_KEY}
        await site.client.ask("POST", f"/workers/{worker}/on", headers=headers)
        await wait_until(lambda: not site.worker.engine.slots().maintenance, "and back")
