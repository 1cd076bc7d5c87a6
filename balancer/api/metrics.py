"""`GET /metrics`: plain integers of the engine, read when Prometheus asks (DESIGN §6).

Labels are bounded by what the fleet hosts: group, contract, function and the code table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from balancer.engine import Engine
    from balancer.fleet.fleet import Fleet
    from balancer.store.ports import Store

_LANE = ("group", "contract", "function")


class BalancerCollector(Collector):
    """Reads the engine's counters."""

    def __init__(self, engine: Engine, fleet: Fleet, store: Store) -> None:
        self._engine = engine
        self._fleet = fleet
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        yield from self._tasks()
        yield from self._attempts()
        yield from self._lanes()
        yield from self._workers()
        healthy = GaugeMetricFamily("cabrank_store_healthy", "1 while the last commit went through")
        healthy.add_metric([], float(self._store.healthy))
        yield healthy

    def _tasks(self) -> Iterator[Metric]:
        counters = self._engine.counters
        accepted = CounterMetricFamily("cabrank_tasks_accepted", "Tasks taken", labels=["mode"])
        for mode, count in counters.accepted.items():
            accepted.add_metric([mode], count)
        yield accepted
        rejected = CounterMetricFamily("cabrank_tasks_rejected", "Tasks not taken", labels=["code"])
        for code, count in counters.rejected.items():
            rejected.add_metric([code], count)
        yield rejected
        ended = CounterMetricFamily("cabrank_tasks_ended", "Tasks ended", labels=[*_LANE, "code"])
        for ((group, contract, function), code), count in counters.ended.items():
            ended.add_metric([group, str(contract), function, code], count)
        yield ended
        unfinished = GaugeMetricFamily("cabrank_durable_unfinished", "Durable tasks not ended")
        unfinished.add_metric([], self._engine.durable_unfinished)
        yield unfinished

    def _attempts(self) -> Iterator[Metric]:
        counters = self._engine.counters
        for name, text, value in (
            ("cabrank_dispatches", "Attempts sent to workers", counters.dispatches),
            ("cabrank_refusals", "Attempts a worker had no slot for", counters.refusals),
            ("cabrank_superseded_results", "Results under a token that is not current", counters.superseded),
            ("cabrank_stream_pieces", "Stream pieces passed on", counters.pieces),
            ("cabrank_wait_seconds", "Sum of waits for a slot", counters.wait_s),
            ("cabrank_run_seconds", "Sum of run times", counters.run_s),
            ("cabrank_attempts_lost", "Attempts whose worker was lost", counters.lost),
            ("cabrank_attempts_retried", "Attempts that failed and were followed by another", counters.retries),
        ):  # fmt: skip
            metric = CounterMetricFamily(name, text)
            metric.add_metric([], value)
            yield metric

    def _lanes(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("cabrank_lane_waiting", "Tasks that wait", labels=list(_LANE))
        for lane in self._engine.scheduler.lanes():
            group, contract, function = lane.lane
            waiting.add_metric([group, str(contract), function], lane.waiting)
        yield waiting

    def _workers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "cabrank_worker_up", "1 while the worker can be reached", labels=["worker"]
        )
        slots = GaugeMetricFamily("cabrank_worker_slots", "Slots", labels=["worker", "state"])
        for worker in self._fleet.workers():
            up.add_metric([worker.id], float(worker.port is not None))
            if worker.report is not None:
                report = worker.report
                for state, value in (
                    ("limit", report.limit), ("used", report.used),
                    ("available", report.available), ("stuck", report.stuck),
                ):  # fmt: skip
                    slots.add_metric([worker.id, state], value)
        yield up
        yield slots


class MetricsApi:
    """Answers Prometheus."""

    def __init__(self, collector: BalancerCollector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer in Prometheus' text format."""
        del request
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
