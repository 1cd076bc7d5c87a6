"""The systems that are measured: each is started, known to answer, and ended with its block."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.caller import Address, WrongAnswerError, hello
from benchmarks.load import each_once
from benchmarks.process import Child, ChildError

ROOT = Path(__file__).parent.parent
FUNCTIONS = Path(__file__).parent / "functions"
KEY = "benchmark-key"
CABRANK = str(Path(sys.executable).parent / "cabrank")
NO_HAPROXY = (
    "HAProxy is missing and could not be installed (that needs root and apt-get): "
    "EVERY ROW AND RATIO WITH HAPROXY IS LEFT OUT"
)


@dataclass(frozen=True, slots=True)
class System:
    """Something that answers calls.

    Attributes:
        name: as the tables show it.
        address: where.
        children: its processes, from the front to the back.
    """

    name: str
    address: Address
    children: tuple[Child, ...]


@contextmanager
def bare(name: str = "aiohttp, bare") -> Generator[System]:
    """Run the bare aiohttp server."""
    with Child("the bare server", [sys.executable, "-m", "benchmarks.bare"], folder=ROOT) as child:
        yield _answering(System(name, child.address(), (child,)))


@contextmanager
def worker(name: str, *, slots: int, fast_lane: bool) -> Generator[System]:
    """Run one worker of ours."""
    command = [CABRANK, "worker", "--port", "0", "--functions", str(FUNCTIONS)]
    environment = _environment(SLOTS=slots, FAST_LANE=fast_lane, MAX_QUEUE=10_000)
    with Child(f"worker of {name}", command, environment) as child:
        yield _answering(System(name, child.address(), (child,)))


@contextmanager
def fleet(name: str, *, slots: int, fast_lane: bool) -> Generator[System]:
    """Run a balancer of ours with one worker behind it."""
    with ExitStack() as stack:
        behind = stack.enter_context(worker(name, slots=slots, fast_lane=fast_lane))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cabrank-bench-")))
        roster = folder / "workers.json"
        roster.write_text(json.dumps(["http://{}:{}".format(*behind.address)]))
        command = [CABRANK, "balancer", "--port", "0", "--workers-file", str(roster)]
        environment = _environment(FAST_LANE=fast_lane, STORE_URL=f"sqlite:///{folder}/store.db")
        child = stack.enter_context(Child(f"balancer of {name}", command, environment))
        yield _answering(System(name, child.address(), (child, *behind.children)))


@contextmanager
def haproxy(name: str, *, slots: int) -> Generator[System]:
    """Run HAProxy in front of a bare aiohttp server, at most `slots` calls at a time."""
    binary = haproxy_binary()
    assert binary is not None, "asked before"
    with ExitStack() as stack:
        behind = stack.enter_context(bare())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cabrank-bench-")))
        # HAProxy takes over a socket that is bound already: no other way to an ephemeral port.
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        listener.set_inheritable(True)
        config = folder / "haproxy.cfg"
        config.write_text(_haproxy_config(listener.fileno(), behind.address, slots))
        command = [binary, "-db", "-f", str(config)]
        child = stack.enter_context(Child("HAProxy", command, fds=[listener.fileno()]))
        address = ("127.0.0.1", int(listener.getsockname()[1]))
        yield _answering(System(name, address, (child, *behind.children)))


def haproxy_binary() -> str | None:
    """Return where HAProxy is; install it when it is absent and we may."""
    found = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
    if found or os.geteuid() != 0 or not shutil.which("apt-get"):
        return found
    print("Installing HAProxy by apt-get …", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "haproxy"]):
        subprocess.run(
            ["apt-get", "-qq", *command], env=environment, check=False, capture_output=True
        )
    return shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")


def _haproxy_config(fd: int, server: Address, slots: int) -> str:
    host, port = server
    return f"""
global
    maxconn 4000
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout queue 60s
listen tasks
    bind fd@{fd}
    balance leastconn
    server worker {host}:{port} maxconn {slots}
"""


def _environment(**settings: object) -> dict[str, str]:
    given = {name: str(value) for name, value in settings.items()}
    return {"LB_AUTH_KEY": KEY, "AUTH_KEY": KEY, "HOST": "127.0.0.1", **given}


def _answering(system: System) -> System:
    """Return it once it has answered a few calls."""
    try:
        warm_up(system, 20)
    except (WrongAnswerError, OSError) as exc:
        printed = "\n".join(child.output[-1000:] for child in system.children)
        raise ChildError(f"{system.name} does not answer: {exc}\n{printed}") from exc
    return system


def warm_up(system: System, calls: int) -> None:
    """Let it answer so many calls, so that nothing is measured that happens only once."""
    each_once(system.address, [hello(f"warm-{n}", key=KEY) for n in range(calls)], min(calls, 4))
