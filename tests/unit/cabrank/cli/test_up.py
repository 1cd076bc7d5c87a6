"""When a fleet that is starting counts as up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cabrank.cli.fleet_plan import FleetPlan
from cabrank.cli.up import until_ready
from shared.errors import Unauthorized, failure
from tests.fakes.contract_server import KEY, ContractServer
from tests.fakes.waiting import wait_until


@pytest.fixture
async def server() -> AsyncIterator[ContractServer]:
    """A balancer that has just been started."""
    async with ContractServer() as server:
        yield server


def _plan(server: ContractServer, key: str = KEY) -> FleetPlan:
    return FleetPlan(
        children=(), url=server.url, key=key, worker_ids=("a:1", "b:1"), workers_file=Path("w.json")
    )


def _workers(server: ContractServer, **status_of: str) -> None:
    server.workers = [{"id": f"{name}:1", "status": status} for name, status in status_of.items()]


async def test_it_is_up_when_every_worker_takes_tasks(server: ContractServer) -> None:
    """A refusal, a worker that is missing and one that is not ready are waited for."""
    plan = _plan(server)
    server.refusals = [failure("shutting_down")]
    waiting = asyncio.create_task(until_ready(plan, plan.worker_ids))
    await wait_until(lambda: server.headers, "the first look")
    _workers(server, a="ready", b="unreachable")
    seen = len(server.headers)
    await wait_until(lambda: len(server.headers) > seen + 1, "another look")
    assert not waiting.done()
    _workers(server, a="ready", b="ready")
    await waiting


async def test_a_fleet_of_others_is_up_when_its_balancer_is(server: ContractServer) -> None:
    """Nobody is waited for whom we did not start."""
    await until_ready(_plan(server), ())


async def test_another_key_is_not_waited_for(server: ContractServer) -> None:
    """A balancer that refuses our key will go on doing so."""
    with pytest.raises(Unauthorized):
        await until_ready(_plan(server, key="other"), ())
