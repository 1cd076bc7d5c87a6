"""Fault 2: retries never run, and failed jobs count as completed."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tests.fakes.in_process_balancer import JsonObject, RunningBalancer, running_balancer
from tests.fakes.in_process_worker import running_worker
from worker import Context, Function, function

DURABLE = {"Prefer": "respond-async"}


def flaky(fails: int) -> tuple[list[int], Function[..., object]]:
    """Return the attempts that were made, and a function that succeeds after so many failures."""
    attempts: list[int] = []

    @function(max_retries=2, retry_delay_s=0.01)
    async def work(*, ctx: Context) -> str:
        """Fails some times."""
        attempts.append(ctx.attempt)
        if len(attempts) <= fails:
            raise ValueError(f"failure {len(attempts)}")
        return "done"

    return attempts, work


async def _metric(balancer: RunningBalancer, line: str) -> bool:
    return line.encode() in (await balancer.ask("GET", "/metrics")).body


@pytest.mark.parametrize("headers", [{}, DURABLE], ids=["call", "durable"])
async def test_a_retry_runs(tmp_path: Path, headers: dict[str, str]) -> None:
    """A function with max_retries=2 that fails twice succeeds at the third attempt, which it can see."""
    attempts, work = flaky(2)
    async with running_worker(work) as worker, running_balancer(tmp_path, worker.url) as balancer:
        reply = await balancer.task("work", headers=headers)
        shown = await balancer.ended(reply.json["task_id"])
        assert (shown["status"], shown["result"]) == ("succeeded", "done")
        made = cast("list[JsonObject]", shown["attempts"])
        assert [(each["n"], each["outcome"]) for each in made] == [
            (1, "failed"),
            (2, "failed"),
            (3, "succeeded"),
        ]
        assert attempts == [1, 2, 3]


@pytest.mark.parametrize("headers", [{}, DURABLE], ids=["call", "durable"])
async def test_what_failed_is_failed(tmp_path: Path, headers: dict[str, str]) -> None:
    """After the last attempt the task is failed, in its answer, in the list and in the metrics."""
    attempts, work = flaky(99)
    async with running_worker(work) as worker, running_balancer(tmp_path, worker.url) as balancer:
        reply = await balancer.task("work", headers=headers)
        if not headers:
            assert (reply.status, reply.code) == (500, "function_error")
        shown = await balancer.ended(reply.json["task_id"])
        assert (shown["status"], shown["error"]) == ("failed", "failure 3")
        assert len(attempts) == 3
        listed = (await balancer.ask("GET", "/tasks?status=succeeded")).json
        assert listed["tasks"] == []
        labels = 'contract="1",function="work",group="default"'
        assert await _metric(
            balancer, f'cabrank_tasks_ended_total{{code="function_error",{labels}}} 1.0'
        )
        assert await _metric(balancer, "cabrank_attempts_retried_total 2.0")
        assert not await _metric(balancer, f'cabrank_tasks_ended_total{{code="ok",{labels}}}')


async def test_a_task_may_wish_for_fewer_attempts(tmp_path: Path) -> None:
    """`max_attempts` of the task wins over the function's own number."""
    attempts, work = flaky(99)
    async with running_worker(work) as worker, running_balancer(tmp_path, worker.url) as balancer:
        assert (await balancer.task("work", max_attempts=1)).status == 500
        assert len(attempts) == 1
