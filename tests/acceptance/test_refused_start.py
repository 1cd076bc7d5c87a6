"""What must not start does not start, and says why."""

from __future__ import annotations

import pytest

from tests.fakes.processes import FUNCTIONS, Bench, cabrank

pytestmark = pytest.mark.acceptance

REFUSED = 2


async def test_a_second_balancer_on_one_store_refuses_to_start(bench: Bench) -> None:
    """An embedded store has one owner; the message names it, and the first one works on."""
    first, _ = await bench.fleet()
    second = bench.start(
        "second", cabrank("balancer", "--port", "0", "--store", "sqlite:///tasks.db")
    )
    assert await second.ended() == REFUSED
    assert f"tasks.db is in use by process {first.pid}" in second.text()
    assert (await bench.call("note", "still")).status == 200


async def test_nothing_but_loopback_is_served_without_keys(bench: Bench) -> None:
    """Both processes refuse an open door, name the variable, and leave no key behind."""
    bench.keys = {}
    options = ("--host", "0.0.0.0", "--port", "0")
    balancer = bench.start("balancer", cabrank("balancer", *options))
    worker = bench.start("worker", cabrank("worker", *options, "--functions", str(FUNCTIONS)))
    assert await balancer.ended() == REFUSED
    assert "LB_AUTH_KEY" in balancer.text()
    assert await worker.ended() == REFUSED
    assert "AUTH_KEY" in worker.text()
    assert not (bench.folder / ".cabrank").exists()


async def test_a_bad_value_and_a_taken_port_stop_the_start(bench: Bench) -> None:
    """One line says which variable, which value, and what is expected; no traceback."""
    running = bench.start_worker("first")
    bad = bench.start("bad", cabrank("balancer"), RESUME_WINDOW="soon")
    await running.listening()
    taken = bench.start_worker("taken", port=running.port)
    assert await bad.ended() == REFUSED
    assert await taken.ended() == REFUSED
    assert "RESUME_WINDOW" in bad.text()
    assert "soon" in bad.text()
    assert str(running.port) in taken.text()
    for refused in (bad, taken):
        assert "Traceback" not in refused.text()
