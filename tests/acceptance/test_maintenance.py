"""Draining: a worker in maintenance finishes what it runs and gets nothing new."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.processes import AUTH_KEY, LB_KEY, Bench

pytestmark = pytest.mark.acceptance


async def served_by(bench: Bench, name: str) -> int:
    """Run something small; return the process that did it."""
    assert (await bench.call("note", name)).status == 200
    return bench.ledger(name=name)[0].pid


async def test_a_worker_is_drained_at_its_own_door(bench: Bench) -> None:
    """/off with its own key: what runs goes on, the others get the rest, /on brings it back."""
    _, [drained, other] = await bench.fleet(2, slots=2)
    calls = [asyncio.create_task(bench.call("hold", name)) for name in ("a", "b")]
    await bench.told("a")
    await bench.told("b")
    off = await bench.request("POST", "/off", url=drained.url, key=AUTH_KEY)
    assert off.json == {"status": "maintenance", "message": "Maintenance mode enabled"}
    await bench.shows(drained, "maintenance")
    assert [await served_by(bench, f"note-{n}") for n in range(4)] == [other.pid] * 4

    on = await bench.request("POST", "/on", url=drained.url, key=AUTH_KEY)
    assert on.json == {"status": "ready", "message": "Maintenance mode disabled"}
    await bench.ready(drained)
    bench.open_gate("a", "b")
    assert [(await call).status for call in calls] == [200, 200]
    assert {await served_by(bench, f"more-{n}") for n in range(4)} == {drained.pid, other.pid}


async def test_an_order_of_the_balancer_survives_restarts_of_both(bench: Bench) -> None:
    """What an operator ordered is desired state: put back on a new process, kept by the store."""
    balancer, [worker] = await bench.fleet()
    order = await bench.request("POST", f"/workers/{worker.id}/off")
    assert order.status == 200
    await bench.shows(worker, "maintenance")

    worker.kill()
    balancer.kill()
    reborn = bench.start_worker("reborn", port=worker.port)
    again = bench.start_balancer(port=balancer.port)
    await reborn.listening()
    await again.listening()
    await bench.shows(reborn, "maintenance")
    assert (await bench.request("GET", "/health", url=reborn.url)).json["status"] == "maintenance"
    waits = await bench.call("note", "waits", deadline_s=0.3)
    assert (waits.status, waits.json["code"]) == (504, "queue_timeout")

    order = await bench.request("POST", f"/workers/{worker.id}/on", key=f"Bearer {LB_KEY}")
    assert order.status == 200
    assert await served_by(bench, "back") == reborn.pid
