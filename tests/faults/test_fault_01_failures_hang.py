"""Fault 1: a failure through the balancer hangs 300 s and becomes `Task timed out`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.andera_worker import AUTH_KEY, andera_worker
from tests.fakes.in_process_balancer import JsonObject, running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.task_functions import PLAIN

AT_ONCE_S = 5.0  # the machine may be busy; what hangs would take TASK_TIMEOUT, 300 s

FAILURES: list[tuple[str, JsonObject, int, str, str]] = [
    ("fail", {}, 500, "function_error", "boom"),
    ("fail", {"text": "other"}, 500, "function_error", "other"),
    ("short", {}, 504, "timeout", "Timeout"),
    ("hello", {"nope": 1}, 400, "invalid_params", "Unexpected param: nope"),
    ("missing", {}, 404, "function_not_found", "Function 'missing' not found in group 'default'"),
]


@pytest.mark.parametrize(("name", "given", "status", "code", "error"), FAILURES)
async def test_a_failure_is_passed_on_at_once_with_its_status(
    tmp_path: Path, name: str, given: JsonObject, status: int, code: str, error: str
) -> None:
    """The worker's status, code and text reach the caller as soon as they are known."""
    async with (
        running_worker(*PLAIN) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
        asyncio.timeout(AT_ONCE_S),
    ):
        reply = await balancer.task(name, given)
        assert (reply.status, reply.code, reply.json["error"]) == (status, code, error)


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_so_is_a_failure_of_a_plain_http_worker(tmp_path: Path, mode: str) -> None:
    """The same holds for Andera's own worker behind our balancer."""
    async with andera_worker(LB_KEY) as worker:
        entry = {"url": worker.url, "auth_key": AUTH_KEY}
        async with running_balancer(tmp_path, entry) as balancer, asyncio.timeout(AT_ONCE_S):
            reply = await balancer.task("fail", mode=mode)
            assert reply.status == (500 if mode == "sync" else 400)
            gone = await balancer.task("hello", group="nope")
            assert gone.status == 404
