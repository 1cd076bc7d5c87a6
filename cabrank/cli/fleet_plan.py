"""What `cabrank up` will start: one balancer, N workers, on which ports, with which options.

The settings of both processes are read here too, before anything is started: a bad value stops the
start once, and what is printed afterwards (address, key) is what the children use.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cabrank.cli.config import STATE_DIRECTORY
from cabrank.cli.ports import chosen_ports
from shared.errors import ConfigError

MAX_WORKERS = 256  # of one `up`; a larger fleet is more than one machine


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """The options of `cabrank up`; None leaves the choice to environment, `.env` and default.

    Attributes:
        host: address that all of them listen on.
        port: the balancer's.
        workers: how many workers.
        worker_port: the first worker's; the others follow.
        slots: slots of each worker.
        functions: folder of functions.
        store: URL of the store.
        workers_file: fleet to dial instead of the workers that are started.
    """

    host: str | None = None
    port: int | None = None
    workers: int = 2
    worker_port: int = 3000
    slots: int | None = None
    functions: Path | None = None
    store: str | None = None
    workers_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """One process to start.

    Attributes:
        name: how it is called in messages.
        argv: its command line.
    """

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """Everything that `up` starts.

    Attributes:
        children: the processes, workers first: a balancer finds them up.
        url: the balancer's address for clients on this machine.
        key: its LB_AUTH_KEY.
        worker_ids: `host:port` of each worker that is started.
        workers_file: the fleet that the balancer dials.
    """

    children: tuple[ChildPlan, ...]
    url: str
    key: str = field(repr=False)
    worker_ids: tuple[str, ...]
    workers_file: Path


def plan_fleet(options: UpOptions, command: str = "cabrank up") -> FleetPlan:
    """Return what is to be started, having checked settings and ports.

    Args:
        options: what was asked for.
        command: what was run, for messages.

    Raises:
        ConfigError: a setting is wrong, or a port is taken.
    """
    from balancer.config import load_settings
    from worker.config import load_settings as load_worker_settings

    if not 0 <= options.workers <= MAX_WORKERS:
        raise ConfigError(f"--workers {options.workers}: expected 0 to {MAX_WORKERS}")
    balancer = load_settings(
        {"host": options.host, "port": options.port, "store_url": options.store}
    )
    load_worker_settings(
        {"host": options.host, "slots": options.slots, "functions": options.functions}
    )
    host = balancer.host
    [port] = chosen_ports(
        host, balancer.port, 1, command=command, option="--port", whose="the balancer"
    )
    ports: list[int] = []
    if options.workers:
        ports = chosen_ports(
            host, options.worker_port, options.workers,
            command=command, option="--worker-port", whose="a worker",
        )  # fmt: skip
    dialled = tuple(f"{_dialled(host)}:{worker}" for worker in ports)
    # A file for each balancer's port: two fleets of one folder must not overwrite each other's.
    file = options.workers_file or STATE_DIRECTORY / f"workers-{port}.json"
    workers = [_worker(options, host, worker) for worker in ports]
    return FleetPlan(
        children=(*workers, _balancer(options, host, port, file)),
        url=f"http://{_dialled(host)}:{port}",
        key=balancer.lb_auth_key or "",
        worker_ids=dialled,
        workers_file=file,
    )


def write_workers_file(plan: FleetPlan) -> None:
    """Write the list of the workers that are started, whole or not at all."""
    urls = [f"http://{worker_id}" for worker_id in plan.worker_ids]
    plan.workers_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = plan.workers_file.with_suffix(".draft")
    draft.write_text(json.dumps(urls, indent=2) + "\n", "utf-8")
    draft.replace(plan.workers_file)


def _dialled(host: str) -> str:
    """Return the address at which this machine reaches what listens on `host`."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1" if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host


def _command(name: str, options: dict[str, object]) -> tuple[str, ...]:
    given = [(option, value) for option, value in options.items() if value is not None]
    flat = [text for option, value in given for text in (option, str(value))]
    return (sys.executable, "-m", "cabrank.cli", name, *flat)


def _balancer(options: UpOptions, host: str, port: int, file: Path) -> ChildPlan:
    argv = _command(
        "balancer",
        {"--host": host, "--port": port, "--workers-file": file, "--store": options.store},
    )
    return ChildPlan("balancer", argv)


def _worker(options: UpOptions, host: str, port: int) -> ChildPlan:
    argv = _command(
        "worker",
        {
            "--host": host,
            "--port": port,
            "--slots": options.slots,
            "--functions": options.functions,
        },
    )
    return ChildPlan(f"worker {port}", argv)
