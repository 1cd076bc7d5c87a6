"""`worker.api.metrics`: plain integers, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.errors import failure
from shared.system import SystemClock, SystemIds, system_chance
from shared.task import Outcome
from shared.task_state import TaskStatus
from worker.api.metrics import Metrics
from worker.authoring.registry import Registry
from worker.engine import EngineSettings, WorkerEngine
from worker.modes.webhook import HookCounts
from worker.processes import ProcessPool
from worker.runner import Runner


@pytest.fixture
async def engine() -> AsyncGenerator[WorkerEngine]:
    """An engine without functions."""
    clock = SystemClock()
    runner = Runner(clock, ProcessPool(clock))
    made = WorkerEngine(
        EngineSettings(limit=4), Registry(), runner, clock, SystemIds(), system_chance()
    )
    yield made
    await made.close()


def _samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


async def test_counts_are_read_when_they_are_asked_for(engine: WorkerEngine) -> None:
    """The text has what the counters say now."""
    hooks = HookCounts()
    metrics = Metrics(engine, hooks, {"version": "1", "group": 'a"b'})
    before = _samples(metrics)
    assert before["cabrank_worker_slots_limit", ()] == 4
    assert before["cabrank_worker_direct_tasks_total", ()] == 0
    engine.counters.direct += 2
    engine.counters.refuse("no_slot")
    hooks.pending = 3
    engine.set_maintenance(True)
    after = _samples(metrics)
    assert after["cabrank_worker_direct_tasks_total", ()] == 2
    refused = "cabrank_worker_dispatches_refused_total"
    assert after[refused, (("code", "no_slot"),)] == 1
    assert after["cabrank_worker_webhooks_pending", ()] == 3
    assert after["cabrank_worker_maintenance", ()] == 1
    assert after["cabrank_worker_slots_available", ()] == 0
    assert after["cabrank_worker_info", (("group", 'a"b'), ("version", "1"))] == 1


async def test_run_times_are_a_histogram(engine: WorkerEngine) -> None:
    """Buckets are cumulative; the last one has all."""
    counts = engine.counters.function("f")
    counts.count(Outcome(TaskStatus.SUCCEEDED), 0.02)
    counts.count(Outcome(TaskStatus.FAILED, failure=failure("function_error")), 400.0)
    samples = _samples(Metrics(engine, HookCounts(), {}))
    name = "cabrank_worker_run_seconds"
    assert samples[f"{name}_bucket", (("function", "f"), ("le", "0.01"))] == 0
    assert samples[f"{name}_bucket", (("function", "f"), ("le", "0.025"))] == 1
    assert samples[f"{name}_bucket", (("function", "f"), ("le", "300"))] == 1
    assert samples[f"{name}_bucket", (("function", "f"), ("le", "+Inf"))] == 2
    assert samples[f"{name}_count", (("function", "f"),)] == 2
    assert samples[f"{name}_sum", (("function", "f"),)] == pytest.approx(400.02)
    ended = "cabrank_worker_attempts_total"
    assert samples[ended, (("function", "f"), ("outcome", "failed"))] == 1
    assert samples[ended, (("function", "f"), ("outcome", "timed_out"))] == 0
