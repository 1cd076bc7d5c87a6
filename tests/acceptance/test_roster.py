"""workers.json is changed under a running balancer."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tests.fakes.processes import Bench
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

# What is promised is 2 s; what is over is for a busy machine.
RELOAD_S = 5.0
AS_SHIPPED = {"WORKER_DISCOVERY_INTERVAL": "1000"}


async def roster_problem(bench: Bench) -> str | None:
    """Return what /health says is wrong with workers.json."""
    health = (await bench.request("GET", "/health")).json
    return cast("dict[str, str | None]", health["roster"])["problem"]


async def test_a_worker_that_is_added_gets_tasks(bench: Bench) -> None:
    """Its URL in workers.json is all it takes; nothing is restarted."""
    _, [first] = await bench.fleet(slots=1, settings=AS_SHIPPED)
    second = bench.start_worker("second", slots=1)
    busy = asyncio.create_task(bench.call("hold", "busy"))
    await bench.told("busy")
    await second.listening()
    waiting = asyncio.create_task(bench.call("note", "waiting"))
    bench.list(first, second)
    async with asyncio.timeout(RELOAD_S):
        reply = await waiting
    assert cast("dict[str, object]", reply.json["result"])["pid"] == second.pid
    bench.open_gate("busy")
    assert (await busy).status == 200


async def test_a_worker_that_is_removed_finishes_what_it_runs(bench: Bench) -> None:
    """It gets nothing new, its task ends well, and only then it is forgotten."""
    _, [leaving, staying] = await bench.fleet(2, slots=2, settings=AS_SHIPPED)
    calls = [asyncio.create_task(bench.call("hold", name)) for name in ("a", "b")]
    began = {each.pid: each.name for each in [*await bench.told("a"), *await bench.told("b")]}
    bench.list(staying)

    async def retired() -> bool:
        return bool((await bench.workers())[leaving.id].get("retired"))

    await wait_until(retired, "the removed worker is retired", RELOAD_S)
    bench.open_gate(began[staying.pid])
    notes = [await bench.call("note", f"note-{n}") for n in range(4)]
    served = {cast("dict[str, object]", each.json["result"])["pid"] for each in notes}
    assert served == {staying.pid}

    bench.open_gate(began[leaving.pid])
    assert [(await call).status for call in calls] == [200, 200]
    await bench.shows(leaving, "absent")
    health = (await bench.request("GET", "/health", url=leaving.url)).json
    assert health["status"] == "ready"  # other balancers may use it


async def test_a_broken_file_keeps_the_last_good_list(bench: Bench) -> None:
    """/health and the log say what is wrong; the fleet works on; the repaired file counts again."""
    balancer, [worker] = await bench.fleet()
    bench.write_list('["http://127.0.0.1:1", ')

    async def noticed() -> bool:
        return "not JSON" in (await roster_problem(bench) or "")

    await wait_until(noticed, "/health tells of the broken file", RELOAD_S)
    assert "roster.broken" in balancer.text()
    assert (await bench.call("note", "meanwhile")).status == 200
    assert list(await bench.workers()) == [worker.id]

    bench.workers_file.unlink()

    async def missing() -> bool:
        return "missing" in (await roster_problem(bench) or "")

    await wait_until(missing, "/health tells of the missing file", RELOAD_S)
    assert (await bench.call("note", "still")).status == 200

    bench.list(worker)

    async def repaired() -> bool:
        return await roster_problem(bench) is None

    await wait_until(repaired, "/health is content again", RELOAD_S)
