"""A task with an Idempotency-Key outlives callers, kill -9 and restarts, and runs once."""

from __future__ import annotations

import asyncio

import pytest

from cabrank import CabrankError
from tests.fakes.processes import Bench
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance


async def test_answers_and_running_tasks_survive_the_death_of_the_balancer(bench: Bench) -> None:
    """What had ended is answered byte for byte, what ran is joined, and none of it runs again."""
    balancer, [worker] = await bench.fleet(slots=20)
    keys = {name: {"Idempotency-Key": f"key-{name}"} for name in ("a", "b", "c", "run")}

    async def call(name: str) -> tuple[int, str]:
        function = "hold" if name == "run" else "note"
        reply = await bench.request("POST", "/task", bench.task(function, name), **keys[name])
        return reply.status, reply.text

    first = {name: await call(name) for name in ("a", "b", "c")}
    assert {status for status, _ in first.values()} == {200}
    running = asyncio.create_task(call("run"))
    await bench.told("run")
    accepted = bench.task("hold", "later") | {"delay_s": 3}
    headers = {"Idempotency-Key": "key-later", "Prefer": "respond-async"}
    later = await bench.request("POST", "/task", accepted, **headers)
    assert later.status == 202

    balancer.kill()
    await asyncio.gather(running, return_exceptions=True)
    again = bench.start_balancer(port=balancer.port)
    await again.listening()
    await bench.ready(worker)
    assert {name: await call(name) for name in ("a", "b", "c")} == first
    joining = asyncio.create_task(call("run"))
    repeated = await bench.request("POST", "/task", accepted, **headers)
    assert (repeated.status, repeated.text) == (202, later.text)
    other = await bench.request("POST", "/task", bench.task("note", "other"), **keys["a"])
    assert (other.status, other.json["code"]) == (409, "idempotency_conflict")

    bench.open_gate("run", "later")
    status, body = await joining
    assert status == 200
    assert '"name":"run"' in body
    await bench.told("later", "end")
    assert sorted(each.name for each in bench.ledger()) == ["a", "b", "c", "later", "run"]


async def test_clients_that_repeat_themselves_through_kills_get_each_task_done_once(
    bench: Bench,
) -> None:
    """Forty calls, a balancer that is killed under them three times, and one execution each."""
    balancer, [worker] = await bench.fleet(slots=20)
    names = [f"n{n}" for n in range(40)]
    done: dict[str, str] = {}

    async def insist(name: str) -> None:
        while name not in done:
            try:
                async with bench.client() as client:
                    given = {"folder": str(bench.folder), "name": name, "seconds": 0.3}
                    answer = await client.call("last", input=given, idempotency_key=name)
                    done[name] = answer["token"]
            except CabrankError:
                await asyncio.sleep(0.05)

    insisting = [asyncio.create_task(insist(name)) for name in names]
    for kill in range(1, 4):
        await wait_until(lambda kill=kill: len(bench.ledger()) > 8 * kill, "some more have begun")
        balancer.kill()
        balancer = bench.start_balancer(port=balancer.port)
        await balancer.listening()
    await asyncio.gather(*insisting)
    await bench.ready(worker)
    assert sorted(each.name for each in bench.ledger()) == sorted(names)
    assert done == {each.name: each.token for each in bench.ledger()}
