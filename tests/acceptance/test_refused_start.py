"""What must not start does not start, and says why; keys are made where they may be."""

from __future__ import annotations

import pytest

from tests.fakes.processes import FUNCTIONS, Bench, cabrank

pytestmark = pytest.mark.acceptance

REFUSED = 2


async def test_a_second_balancer_on_one_store_refuses_to_start(bench: Bench) -> None:
    """An embedded store has one owner; the message names it, and the first one works on."""
    first = bench.start_balancer()
    await first.listening()
    second = bench.start(
        "second", cabrank("balancer", "--port", "0", "--store", "sqlite:///tasks.db")
    )
    assert await second.ended() == REFUSED
    assert f"tasks.db is in use by process {first.pid}" in second.text()
    assert (await bench.request("GET", "/tasks")).json == {"tasks": [], "next": None}


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


async def test_on_loopback_keys_are_made_once_and_their_place_is_told(bench: Bench) -> None:
    """Both processes share them, in files that only their owner reads; given keys make none."""
    given = bench.start("given", cabrank("balancer", "--port", "0", "--store", "memory://"))
    await given.listening()
    assert "keys in" not in given.text()
    assert not (bench.folder / ".cabrank").exists()

    bench.keys = {}
    worker, balancer = bench.start_worker(), bench.start_balancer()
    for process in (worker, balancer):
        await process.listening()
        assert "(keys in .cabrank/)" in process.text()
    made = {each.name: each for each in (bench.folder / ".cabrank").iterdir()}
    assert made.keys() == {"auth_key", "lb_auth_key"}
    assert {each.stat().st_mode & 0o777 for each in made.values()} == {0o600}
    key = made["lb_auth_key"].read_text()
    assert (await bench.request("GET", "/workers", key=key)).status == 200
    assert (await bench.request("GET", "/workers", key="another")).status == 401
    assert key not in worker.text() + balancer.text()


async def test_a_bad_value_and_a_taken_port_stop_the_start(bench: Bench) -> None:
    """One line says which variable, which value, and what is expected; no traceback."""
    running = bench.start_worker("first")
    bad = bench.start("bad", cabrank("balancer"), {"RESUME_WINDOW": "soon"})
    await running.listening()
    taken = bench.start_worker("taken", port=running.port)
    assert await bad.ended() == REFUSED
    assert await taken.ended() == REFUSED
    assert "RESUME_WINDOW" in bad.text()
    assert "soon" in bad.text()
    assert str(running.port) in taken.text()
    for refused in (bad, taken):
        assert "Traceback" not in refused.text()
