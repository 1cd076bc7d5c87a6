"""The load of the machine: real numbers, read at most once a second."""

from __future__ import annotations

import psutil
import pytest

from tests.fakes.manual_clock import ManualClock
from worker.system_load import MAX_AGE_S, SystemLoad


def test_the_load_has_the_fields_of_the_contract() -> None:
    """Uptime of the worker, memory in percent, load of the last minute."""
    clock = ManualClock()
    load = SystemLoad(clock)
    clock.advance(12.5)
    read = load.read()
    assert read["uptime"] == 12.5
    assert 0 < read["usedMemoryPercent"] <= 100
    assert read["cpuLoad"] >= 0


def test_reading_often_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second the last reading is told again; the uptime goes on."""
    calls: list[int] = []

    def load_of_the_machine() -> tuple[float, float, float]:
        calls.append(1)
        return (float(len(calls)), 0.0, 0.0)

    monkeypatch.setattr(psutil, "getloadavg", load_of_the_machine)
    clock = ManualClock()
    load = SystemLoad(clock)
    assert load.read()["cpuLoad"] == 1
    clock.advance(MAX_AGE_S / 2)
    assert (load.read()["cpuLoad"], load.read()["uptime"]) == (1, MAX_AGE_S / 2)
    clock.advance(MAX_AGE_S / 2)
    assert load.read()["cpuLoad"] == 2
