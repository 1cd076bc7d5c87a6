"""`GET /metrics`: what the worker counted, in Prometheus' text format.

The counts are plain integers that are read when somebody asks (DESIGN §6). Labels are bounded: the
functions that are hosted, the outcomes, the error codes, the routes.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from worker.counters import RUN_BOUNDS_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from worker.counters import FunctionCounters
    from worker.engine import WorkerEngine
    from worker.modes.webhook import HookCounts


_OUTCOMES = ("succeeded", "failed", "timed_out", "cancelled")
_BOUNDS = (*(f"{bound:g}" for bound in RUN_BOUNDS_S), "+Inf")


class Metrics(Collector):
    """Reads the counts of a worker.

    Args:
        engine: counts tasks and slots.
        hooks: counts of webhook deliveries.
        info: what identifies the worker: version, group and so on.
    """

    def __init__(self, engine: WorkerEngine, hooks: HookCounts, info: Mapping[str, str]) -> None:
        self._engine = engine
        self._hooks = hooks
        self._info = dict(info)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its present value."""
        yield InfoMetricFamily("cabrank_worker", "What this worker is.", value=self._info)
        yield from self._slots()
        yield from self._tasks()
        yield from self._webhooks()

    def _slots(self) -> Iterator[Metric]:
        report = self._engine.slots()
        gauges = (
            ("slots_limit", "Slots.", report.limit),
            ("slots_used", "Slots held by code that runs, stuck code included.", report.used),
            ("slots_available", "Slots that a task could take now.", report.available),
            ("slots_stuck", "Slots held by code that cannot be ended.", report.stuck),
            ("queue_tasks", "Direct tasks that wait.", report.queue),
            ("queue_bytes", "Bytes of their inputs.", self._engine.direct.queued_bytes),
            ("maintenance", "1 while no new task is taken.", int(report.maintenance)),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"cabrank_worker_{name}", text, value=value)

    def _tasks(self) -> Iterator[Metric]:
        counters = self._engine.counters
        totals = (
            ("attempts_started", "Attempts that got a slot.", counters.began),
            ("direct_tasks", "Tasks that came without a balancer.", counters.direct),
            (
                "direct_retries",
                "Attempts of direct tasks that another one followed.",
                counters.retried,
            ),
            ("queue_full", "Direct tasks refused because the queue was full.", counters.queue_full),
            ("stuck", "Attempts whose code did not end when it was told to.", counters.stuck),
            ("late_results", "Results that came after the time-out.", counters.late),
        )
        for name, text, value in totals:
            yield CounterMetricFamily(f"cabrank_worker_{name}", text, value=value)
        refused = CounterMetricFamily(
            "cabrank_worker_dispatches_refused", "Dispatches refused to balancers.", labels=["code"]
        )
        for code, count in sorted(counters.refused.items()):
            refused.add_metric([code], count)
        yield refused
        yield from _by_function(counters.functions)

    def _webhooks(self) -> Iterator[Metric]:
        hooks = self._hooks
        totals = (
            ("webhooks_delivered", "Webhooks of direct tasks that arrived.", hooks.delivered),
            ("webhooks_failed", "Webhooks of direct tasks that were given up.", hooks.failed),
            ("webhook_tries", "Calls of webhooks.", hooks.tries),
        )
        for name, text, value in totals:
            yield CounterMetricFamily(f"cabrank_worker_{name}", text, value=value)
        yield GaugeMetricFamily(
            "cabrank_worker_webhooks_pending",
            "Direct webhook tasks under way.",
            value=hooks.pending,
        )


def _by_function(functions: Mapping[str, FunctionCounters]) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "cabrank_worker_attempts",
        "Attempts that were decided, by outcome.",
        labels=["function", "outcome"],
    )
    seconds = HistogramMetricFamily(
        "cabrank_worker_run_seconds",
        "Time from the start of a run to its end.",
        labels=["function"],
    )
    for name, counts in sorted(functions.items()):
        for outcome in _OUTCOMES:
            ended.add_metric([name, outcome], getattr(counts, outcome))
        buckets = list(zip(_BOUNDS, accumulate(counts.buckets), strict=True))
        seconds.add_metric([name], buckets, sum_value=counts.run_seconds)
    yield ended
    yield seconds


class MetricsRoute:
    """Answers `GET /metrics`; public, as Prometheus expects it.

    Args:
        metrics: what there is to tell.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        del request
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
