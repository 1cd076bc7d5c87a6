"""What `cabrank up` will start."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cabrank.cli.fleet_plan import UpOptions, plan_fleet, write_workers_file
from cabrank.cli.ports import free_ports
from shared.errors import ConfigError

HOST = "127.0.0.1"


def test_a_balancer_and_its_workers(empty_folder: Path) -> None:
    """Every process has its own port; what was not asked for is left to its settings."""
    plan = plan_fleet(UpOptions(port=0, worker_port=0, workers=2))
    workers = [worker_id.rpartition(":")[2] for worker_id in plan.worker_ids]
    port = plan.url.rpartition(":")[2]
    assert len({port, *workers}) == 3
    run = (sys.executable, "-m", "cabrank.cli")
    file = str(Path(".cabrank") / f"workers-{port}.json")
    assert [child.argv for child in plan.children] == [
        (*run, "worker", "--host", HOST, "--port", workers[0]),
        (*run, "worker", "--host", HOST, "--port", workers[1]),
        (*run, "balancer", "--host", HOST, "--port", port, "--workers-file", file),
    ]
    assert plan.key == (empty_folder / ".cabrank" / "lb_auth_key").read_text()
    assert plan.key not in repr(plan)


def test_options_reach_the_processes() -> None:
    """Slots and functions go to the workers, the store and the list to the balancer."""
    plan = plan_fleet(
        UpOptions(
            port=0, worker_port=0, workers=1, slots=3, functions=Path("f"),
            store="sqlite:///x.db", workers_file=Path("w.json"),
        )
    )  # fmt: skip
    worker, balancer = (" ".join(child.argv) for child in plan.children)
    assert "--slots 3 --functions f" in worker
    assert "--workers-file w.json --store sqlite:///x.db" in balancer


def test_the_environment_chooses_what_no_option_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """PORT is the balancer's; workers count from their own option."""
    [port] = free_ports(HOST, 1)
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.setenv("LB_AUTH_KEY", "k" * 20)
    plan = plan_fleet(UpOptions(worker_port=0, workers=1))
    assert plan.url == f"http://{HOST}:{port}"
    assert plan.key == "k" * 20


def test_every_address_is_dialled_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """What listens everywhere is reached on loopback."""
    monkeypatch.setenv("LB_AUTH_KEY", "k" * 20)
    monkeypatch.setenv("AUTH_KEY", "a" * 20)
    plan = plan_fleet(UpOptions(host="0.0.0.0", port=0, worker_port=0, workers=1))
    assert plan.url.startswith("http://127.0.0.1:")
    assert plan.worker_ids[0].startswith("127.0.0.1:")
    assert all("--host 0.0.0.0" in " ".join(child.argv) for child in plan.children)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (UpOptions(port=0, worker_port=0, workers=-1), "--workers"),
        (UpOptions(port=0, worker_port=0, workers=1000), "--workers"),
        (UpOptions(port=0, worker_port=0, slots=0), "SLOTS"),
        (UpOptions(host="0.0.0.0", port=0, worker_port=0), "LB_AUTH_KEY"),
    ],
)
def test_a_mistake_stops_the_start(options: UpOptions, said: str) -> None:
    """It is told once, before any process is started."""
    with pytest.raises(ConfigError, match=said):
        plan_fleet(options)


def test_no_worker_is_a_fleet_too() -> None:
    """A balancer alone waits for the workers that others start."""
    plan = plan_fleet(UpOptions(port=0, workers=0))
    assert [child.name for child in plan.children] == ["balancer"]


def test_the_list_of_workers_is_written(empty_folder: Path) -> None:
    """It is what workers.json is: an array of URLs."""
    plan = plan_fleet(UpOptions(port=0, worker_port=0, workers=2))
    write_workers_file(plan)
    urls = json.loads((empty_folder / plan.workers_file).read_text())
    assert urls == [f"http://{worker_id}" for worker_id in plan.worker_ids]
    assert [each.suffix for each in (empty_folder / ".cabrank").glob("workers*")] == [".json"]
