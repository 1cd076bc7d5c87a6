"""Contract §6: workers.json and what follows from it, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from tests.fakes.in_process_balancer import JsonObject, running_balancer
from tests.fakes.in_process_worker import running_worker, start_worker
from tests.fakes.small_names import ScriptedNames
from tests.fakes.task_functions import HeldWork, echo, hello
from tests.fakes.tcp_proxy import tcp_proxy
from tests.fakes.waiting import wait_until
from worker import Function, function

RELOAD_S = 2.0  # contract §6


def port_of(url: str) -> int:
    """Return the port of a worker's URL."""
    return int(url.rpartition(":")[2])


# The file


async def test_a_change_is_in_force_within_two_seconds(tmp_path: Path) -> None:
    """With the settings as they are shipped, a worker that is added is linked within 2 s."""
    async with (
        running_worker(hello) as one,
        running_worker(hello) as two,
        running_balancer(tmp_path, one.url, worker_discovery_interval=1000) as balancer,
    ):
        balancer.list_workers(one.url, two.url)
        async with asyncio.timeout(RELOAD_S):
            await balancer.linked(2)


@pytest.mark.parametrize("broken", ['["http://', "{}", '[{"url": 5}]', None])
async def test_a_broken_file_keeps_the_last_good_list(tmp_path: Path, broken: str | None) -> None:
    """The fleet goes on, and `/health` says what is wrong until the file is mended."""
    async with (
        running_worker(hello) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        if broken is None:
            balancer.file.unlink()
        else:
            balancer.file.write_text(broken)
        roster = balancer.balancer.fleet.roster
        await wait_until(lambda: roster.problem, "the problem is seen")
        shown = (await balancer.ask("GET", "/health")).json
        assert cast("JsonObject", shown["services"])["roster"] == roster.problem
        assert (await balancer.task("hello")).status == 200
        balancer.list_workers(worker.url)
        await wait_until(lambda: roster.problem is None, "it is mended")
        assert (await balancer.task("hello")).status == 200


async def test_duplicates_are_one_worker(tmp_path: Path) -> None:
    """The same URL twice is one entry; the same worker under two names gets one link."""
    async with running_worker(hello) as worker:
        other_name = worker.url.replace("127.0.0.1", "localhost")
        async with running_balancer(
            tmp_path, worker.url, worker.url + "/", other_name, linked=1
        ) as balancer:
            fleet = balancer.balancer.fleet

            def refused() -> bool:
                first, second = fleet.workers()
                return first.status == "ready" and "the same worker as" in (second.problem or "")

            await wait_until(refused, "the first name has it, the second is refused")
            opened = fleet.workers()[0].port
            for n in range(20):
                assert (await balancer.task("hello", {"name": f"Ada {n}"})).status == 200
            assert fleet.workers()[0].port is opened, "its link is left in peace"


async def test_a_name_stands_for_all_its_addresses_and_keeps_its_last_answer(
    tmp_path: Path,
) -> None:
    """dns+http: every address is a worker; changes are followed, and no answer changes nothing."""
    names = ScriptedNames({"workers.test": ["127.0.0.1"]})
    async with running_worker(hello) as worker:
        port = port_of(worker.url)
        async with running_balancer(
            tmp_path, f"dns+http://workers.test:{port}", linked=0, resolve=names.resolve
        ) as balancer:
            assert (await balancer.task("hello")).status == 200
            fleet = balancer.balancer.fleet

            def listed() -> list[str]:
                return sorted(each.id for each in fleet.workers() if not each.retired)

            names.answers["workers.test"] = ["127.0.0.2", "127.0.0.1"]
            await wait_until(
                lambda: listed() == [f"127.0.0.1:{port}", f"127.0.0.2:{port}"], "both are dialled"
            )
            asked = names.asked
            names.answers["workers.test"] = []
            await wait_until(lambda: names.asked > asked + 2, "it was asked again")
            assert listed() == [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]
            names.answers["workers.test"] = ["127.0.0.1"]
            await wait_until(lambda: listed() == [f"127.0.0.1:{port}"], "the change is followed")
            assert (await balancer.task("hello")).status == 200


async def test_a_resolver_that_hangs_delays_nobody(tmp_path: Path) -> None:
    """Other workers are dialled at once; the round ends when the name was given up."""
    names = ScriptedNames({}, hangs={"slow.test"})
    async with (
        running_worker(hello) as worker,
        asyncio.timeout(5),
        running_balancer(
            tmp_path, "dns+http://slow.test:1", worker.url, linked=1, resolve=names.resolve
        ) as balancer,
    ):
        assert not balancer.balancer.fleet.round_ended
        assert (await balancer.task("hello")).status == 200


# Removal


async def test_a_removed_worker_finishes_and_gets_nothing_new(tmp_path: Path) -> None:
    """Removing an entry drains it: no new task, no /off; running ones finish, then the link closes."""
    leaving, staying = HeldWork(), HeldWork()
    async with (
        running_worker(*leaving.functions(), slots=2) as one,
        running_worker(*staying.functions(), slots=2) as two,
        running_balancer(tmp_path, one.url) as balancer,
    ):
        fleet = balancer.balancer.fleet
        call = asyncio.create_task(balancer.task("hold", {"label": "old"}))
        await wait_until(lambda: leaving.begun, "it runs there")
        balancer.list_workers(two.url)
        await wait_until(
            lambda: [each.retired for each in fleet.workers()] == [False, True], "it drains"
        )
        await wait_until(lambda: fleet.workers()[0].status == "ready", "the new one is linked")
        staying.let_go()
        for label in ("a", "b", "c"):
            assert (await balancer.task("hold", {"label": label})).status == 200
        assert (leaving.begun, staying.begun) == (["old"], ["a", "b", "c"])
        assert not one.engine.slots().maintenance
        leaving.let_go()
        assert (await call).json["result"] == "old"
        await wait_until(lambda: len(fleet.workers()) == 1, "its link is closed, it is forgotten")


async def test_a_draining_worker_is_redialled_until_its_tasks_have_ended(tmp_path: Path) -> None:
    """A cut during the drain loses nothing: the link is resumed as long as something runs there."""
    work = HeldWork()
    async with (
        running_worker(*work.functions()) as worker,
        tcp_proxy(worker.url) as network,
        running_balancer(tmp_path, network.url, resume_window=10_000) as balancer,
    ):
        fleet = balancer.balancer.fleet
        call = asyncio.create_task(balancer.task("hold", {"label": "x"}))
        await wait_until(lambda: work.begun, "it runs")
        balancer.list_workers()
        await wait_until(lambda: fleet.workers()[0].retired, "it drains")
        network.cut()
        await wait_until(lambda: fleet.workers()[0].status == "unreachable", "it was noticed")
        network.heal()
        work.let_go()
        assert (await call).json["result"] == "x"
        await wait_until(lambda: not fleet.workers(), "it is forgotten")


async def test_a_worker_listed_again_while_it_drains_goes_on(tmp_path: Path) -> None:
    """Its entry came back: it gets tasks again, over the same link."""
    work = HeldWork()
    async with (
        running_worker(*work.functions(), slots=1) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        fleet = balancer.balancer.fleet
        call = asyncio.create_task(balancer.task("hold", {"label": "x"}))
        await wait_until(lambda: work.begun, "it runs")
        balancer.list_workers()
        await wait_until(lambda: fleet.workers()[0].retired, "it drains")
        balancer.list_workers(worker.url)
        await wait_until(lambda: not fleet.workers()[0].retired, "it is back")
        work.let_go()
        assert (await call).status == 200
        assert (await balancer.task("hold", {"label": "y"})).status == 200


# Keys, life and death


async def test_a_worker_with_another_key_is_shown_with_the_reason(tmp_path: Path) -> None:
    """A worker that does not take LB_AUTH_KEY is unreachable, and says why, and is asked again."""
    async with (
        running_worker(hello, lb_auth_key="another") as worker,
        running_balancer(tmp_path, worker.url, linked=0) as balancer,
    ):
        fleet = balancer.balancer.fleet
        await wait_until(lambda: fleet.round_ended, "the round has ended")
        (shown,) = await balancer.workers()
        assert shown["status"] == "unreachable"
        assert "LB_AUTH_KEY" in str(shown["problem"])


async def test_a_worker_that_changes_its_key_is_shown_too(tmp_path: Path) -> None:
    """A link that is refused with 401 after it was cut names the key."""
    worker = await start_worker([hello])
    async with running_balancer(tmp_path, worker.url) as balancer:
        fleet = balancer.balancer.fleet
        await worker.stop()
        other = await start_worker([hello], port=port_of(worker.url), lb_auth_key="another")
        try:
            await wait_until(
                lambda: "LB_AUTH_KEY" in (fleet.workers()[0].problem or ""), "the key is named"
            )
        finally:
            await other.stop()


async def test_a_restarted_worker_is_linked_again_within_two_seconds(tmp_path: Path) -> None:
    """The backoff never exceeds 2 s, however long the worker was away."""
    worker = await start_worker([hello])
    async with running_balancer(tmp_path, worker.url) as balancer:
        fleet = balancer.balancer.fleet
        boot = fleet.workers()[0].boot
        await worker.stop()
        await wait_until(lambda: fleet.workers()[0].status == "unreachable", "it is away")
        again = await start_worker([hello], port=port_of(worker.url))
        try:
            async with asyncio.timeout(RELOAD_S + 1):
                await balancer.linked()
            assert fleet.workers()[0].boot != boot
            assert (await balancer.task("hello")).status == 200
        finally:
            await again.stop()


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_new_process_under_the_old_address_is_another_life(
    tmp_path: Path, idempotent: bool
) -> None:
    """A new boot id says at once that the old attempts are gone, whatever else has changed with it."""
    before, after = HeldWork(), HeldWork()
    async with (
        running_worker(*before.functions(idempotent=idempotent)) as old,
        running_worker(hello, *after.functions(idempotent=idempotent)) as new,
        tcp_proxy(old.url) as network,
        running_balancer(tmp_path, network.url, resume_window=60_000) as balancer,
    ):
        call = asyncio.create_task(balancer.task("hold", {"label": "x"}))
        await wait_until(lambda: before.begun, "it runs")
        network.cut()
        network.aim(new.url)
        network.heal()
        after.let_go()
        reply = await call
        if idempotent:
            assert (reply.status, after.begun) == (200, ["x"])
        else:
            assert (reply.status, reply.code, after.begun) == (502, "worker_lost", [])


async def test_a_maintenance_order_is_put_back_on_a_restarted_worker(tmp_path: Path) -> None:
    """The order is the balancer's desired state: a worker that forgot it is told again."""
    worker = await start_worker([hello])
    async with running_balancer(tmp_path, worker.url) as balancer:
        name = balancer.balancer.fleet.workers()[0].id
        assert (await balancer.ask("POST", f"/workers/{name}/off")).status == 200
        await wait_until(lambda: worker.engine.slots().maintenance, "it obeys")
        await worker.stop()
        again = await start_worker([hello], port=port_of(worker.url))
        try:
            await wait_until(lambda: again.engine.slots().maintenance, "it is told again")
            assert (await balancer.ask("POST", f"/workers/{name}/on")).status == 200
            assert (await balancer.task("hello")).status == 200
        finally:
            await again.stop()


async def test_an_order_to_a_worker_that_is_away_is_in_force_when_it_is_back(
    tmp_path: Path,
) -> None:
    """off and on are kept while the link is cut, and the last one counts."""
    async with (
        running_worker(hello) as worker,
        tcp_proxy(worker.url) as network,
        running_balancer(tmp_path, network.url) as balancer,
    ):
        fleet = balancer.balancer.fleet
        name = fleet.workers()[0].id

        async def order_while_away(what: str) -> None:
            network.cut()
            await wait_until(lambda: fleet.workers()[0].status == "unreachable", "it is away")
            assert (await balancer.ask("POST", f"/workers/{name}/{what}")).status == 200
            network.heal()

        await order_while_away("off")
        await wait_until(lambda: worker.engine.slots().maintenance, "it obeys when it is back")
        await order_while_away("on")
        await wait_until(lambda: not worker.engine.slots().maintenance, "and to the other one too")


async def test_a_silent_worker_gets_nothing_and_is_taken_back(tmp_path: Path) -> None:
    """A link that is open and silent is shown as unreachable; when it speaks again, it works again."""
    async with (
        running_worker(hello) as worker,
        tcp_proxy(worker.url) as network,
        running_balancer(
            tmp_path, network.url, ws_heartbeat_interval=50, ws_heartbeat_timeout=50
        ) as balancer,
    ):
        fleet = balancer.balancer.fleet
        network.freeze()
        await wait_until(lambda: fleet.workers()[0].silent, "the silence is noticed")
        assert (await balancer.workers())[0]["status"] == "unreachable"
        call = asyncio.create_task(balancer.task("hello"))
        network.heal()
        assert (await call).status == 200
        await wait_until(lambda: fleet.workers()[0].status == "ready", "it is shown again")


# The contract check


def version_of_hello(extra: bool) -> Function[..., object]:
    """Return `hello` as an earlier or a later version declares it."""
    if not extra:
        return hello

    @function(name="hello")
    async def later(name: str = "World", title: str = "") -> dict[str, str]:
        """Greets someone."""
        return {"message": f"Hello {title}{name}!"}

    return later


async def test_a_function_that_differs_gets_no_task_there(tmp_path: Path) -> None:
    """The first worker of the file is the reference; another's difference is spelled out, the rest works."""
    async with (
        running_worker(hello, echo) as first,
        running_worker(version_of_hello(True), echo) as second,
        running_balancer(tmp_path, first.url, second.url) as balancer,
    ):
        for _ in range(4):
            reply = await balancer.task("hello", {"name": "Ada"})
            assert reply.json["result"] == {"message": "Hello Ada!"}
            shown = await balancer.shown(reply.json["task_id"])
            assert str(shown["worker"]) in first.url
        health = (await balancer.ask("GET", "/health")).json
        (invalid,) = cast("list[JsonObject]", health["invalidWorkers"])
        assert (invalid["url"], invalid["contractValid"]) == (second.url, False)
        assert "function 'hello' has the extra param title" in str(
            invalid["contractMismatchReason"]
        )
        hosts: set[object] = set()
        for _ in range(6):
            reply = await balancer.task("echo", {"text": "x"})
            hosts.add((await balancer.shown(reply.json["task_id"]))["worker"])
        assert len(hosts) == 2


async def test_the_order_of_the_file_names_the_reference(tmp_path: Path) -> None:
    """When the file is put into another order, the other worker becomes the reference."""
    async with (
        running_worker(hello) as first,
        running_worker(version_of_hello(True)) as second,
        running_balancer(tmp_path, first.url, second.url) as balancer,
    ):
        title = {"name": "Ada", "title": "Dr. "}
        assert (await balancer.task("hello", title)).status == 400
        balancer.list_workers(second.url, first.url)
        fleet = balancer.balancer.fleet
        await wait_until(
            lambda: (
                [(each.entry.url, bool(each.differences)) for each in fleet.workers()]
                == [(second.url, False), (first.url, True)]
            ),
            "the roles have changed",
        )
        reply = await balancer.task("hello", title)
        assert reply.json == {
            "success": True,
            "result": {"message": "Hello Dr. Ada!"},
            "task_id": reply.json["task_id"],
        }
